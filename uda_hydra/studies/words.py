"""The answer of a study in sentences. What the seeds cannot tell is not said."""

from __future__ import annotations

import math

from uda_hydra.studies import differences
from uda_hydra.studies.answer import Answer, Range
from uda_hydra.studies.differences import count
from uda_hydra.studies.importance import importance
from uda_hydra.studies.label_free import TARGET, Choice
from uda_hydra.studies.points import Point
from uda_hydra.studies.quantities import Quantity, written
from uda_hydra.studies.statistics import estimate


def progress(answer: Answer) -> str:
    """How much of the study is there."""
    states = [trial.state for trial in answer.study.trials]
    whole, points, seeds = len(states), len(answer.points.all), len(answer.points.seeds)
    bad = len(answer.not_finite)
    done = len(answer.complete)
    text = f"{done} of {whole} trials complete: {count(points, 'point')}"
    text += f", {count(seeds, 'seed')}" if done else ""
    others = [(states.count(state), state) for state in ("failed", "pruned", "running", "waiting")]
    others.append((bad, "not finite"))
    rest = ", ".join(f"{number} {state}" for number, state in others if number)
    text += f"; {rest}" if rest else ""
    unfinished = states.count("running") + states.count("waiting")
    return text + (f"; unfinished: {unfinished} of {whole}" if unfinished else "")


def statements(answer: Answer) -> list[str]:
    """What can be said, most important first."""
    if answer.best is None:
        return ["No trial is complete with a finite objective: there is nothing to tell yet."]
    if not answer.points.keys:
        return [_alone(answer, answer.best), *honest(answer)]
    lines = [*_front(answer), _best(answer), *differences.best_and_reference(answer)]
    lines += differences.told_apart(answer) + robust_ranges(answer)
    for found in answer.ranges:
        lines += differences.along_curve(answer, found)
    lines += differences.between_curves(answer) + _importance(answer)
    return lines + differences.classes(answer) + _cautions(answer)


def robust_ranges(answer: Answer) -> list[str]:
    """Which values are as good as the best: for each curve, or for all keys together."""
    if answer.best is None or not answer.points.keys:
        return []
    return [_range(answer, found) for found in answer.ranges] or [_within(answer)]


def _alone(answer: Answer, point: Point) -> str:
    """What seeds alone say, where no key is swept."""
    found = answer.mean(point)
    if found.n < 2:
        return f"{_value(answer, point)}; with one seed the spread is not known."
    spread = f"{answer.objective.show(found.std)}{answer.objective.step}"
    return f"{_value(answer, point)}; between seeds it varies by {spread} (standard deviation)."


def _best(answer: Answer) -> str:
    best = answer.best
    assert best is not None, "asked without a complete trial"
    many = count(len(answer.points.compared), "point")
    return f"Best of {many}: {best.name}, {_value(answer, best)}."


def _value(answer: Answer, point: Point) -> str:
    found = answer.mean(point)
    over = f"mean of {found.n} seeds" if found.n > 1 else "one seed"
    number = f"{answer.objective.show(found.mean)} {answer.objective.unit}".rstrip()
    return f"{answer.objective.name} {number} ({over})"


def _front(answer: Answer) -> list[str]:
    """Of several objectives: the points among which one has to choose."""
    if len(answer.study.objectives) < 2 or not answer.front:
        return []
    keys = answer.study.objectives
    names = " and ".join(Quantity(key).name for key in keys)
    points = [
        f"{p.name} ({', '.join(Quantity(k).show(answer.points.mean(p, k).mean) for k in keys)})"
        for p in answer.front
    ]
    of = count(len(answer.points.compared), "point")
    return [f"Pareto front of {names}, {len(points)} of {of}: {'; '.join(points)}."]


def _range(answer: Answer, found: Range) -> str:
    axis = answer.points.axis
    assert axis is not None, "a range lies on an axis"
    names = [written(point.params[axis]) for point in found.points]
    reach = f"{tolerance(answer)} of the best ({_at(answer, found.best, axis)})"
    where = f" with {found.curve.name}" if found.curve.fixed else ""
    start = f"Robust range of {axis}{where}{_one_seed(answer)}: "
    of = len([p for p in found.curve.points if p in answer.points.compared])
    if not answer.points.is_number(axis):
        return f"{start}{', '.join(names)}, {len(names)} of {of} compared, are within {reach}."
    if of == 1:
        return f"{start}not known, one value alone is there."
    if len(names) == 1:
        return f"{start}{names[0]} alone of {of} values compared; no neighbour is within {reach}."
    ends = [
        name
        for name, is_open in (("smallest", found.open_below), ("largest", found.open_above))
        if is_open
    ]
    reached = f"; it reaches the {' and the '.join(ends)} value compared and may go on"
    beyond = reached if ends else ""
    return (
        f"{start}{names[0]} to {names[-1]} ({len(names)} of {of} values compared) are within "
        f"{reach}{beyond}."
    )


def tolerance(answer: Answer) -> str:
    """Width of the robust range."""
    text = f"{answer.tolerance:.3g}{answer.objective.step}"
    return text.removesuffix("s") if text == "1 points" else text


def _one_seed(answer: Answer) -> str:
    return " (one seed; another may disagree)" if len(answer.points.seeds) == 1 else ""


def _at(answer: Answer, point: Point, axis: str) -> str:
    return f"{written(point.params[axis])}: {answer.objective.show(answer.mean(point).mean)}"


def _within(answer: Answer) -> str:
    """The robust range of many parameters: what the good points have in common."""
    points, compared = answer.within, answer.points.compared
    many = count(len(compared), "point")
    verb = "is" if len(points) == 1 else "are"
    reach = f"{tolerance(answer)} of the best{_one_seed(answer)}"
    text = f"{len(points)} of {many} {verb} within {reach}"
    spans = []
    for key in answer.points.keys:
        values = [point.params[key] for point in points]
        names = [written(v) for v in answer.points.tried(key) if v in values]
        whole = len(names) == len(answer.points.tried(key))
        span = f"{names[0]} to {names[-1]}" if answer.points.is_number(key) else ", ".join(names)
        spans.append(f"{key} {names[0] if len(names) == 1 else span}{' (all)' if whole else ''}")
    return f"{text}; among them {'; '.join(spans)}."


def _importance(answer: Answer) -> list[str]:
    """Which of several keys matters."""
    shares = importance(answer)
    if not shares:
        return []
    told = ", ".join(f"{key} {100 * share.mean:.0f} %" for key, share in shares.items())
    return [f"Importance (fANOVA; the shares sum to one even where only noise varies): {told}."]


def _cautions(answer: Answer) -> list[str]:
    """What the numbers do not bear."""
    lines = []
    points, compared = answer.points.all, answer.points.compared
    if len(answer.points.seeds) == 1:
        lines.append(
            "With one seed the spread between seeds is not known: no point can be told from "
            "another, and best and range may be the seed's."
        )
    elif len(compared) > 1:
        spread = estimate([answer.mean(point).std for point in compared]).mean
        lines.append(
            f"Between seeds a point varies by {answer.objective.show(spread)}"
            f"{answer.objective.step} (standard deviation, averaged over points); the border of "
            "a range is no sharper than that."
        )
    if len(compared) < len(points):
        seeds = ", ".join(map(str, answer.points.seeds))
        lines.append(
            f"Compared are the {len(compared)} of {len(points)} points that have seeds {seeds}, "
            "over these seeds; the others are shown hollow."
        )
    if any(trial.state == "pruned" for trial in answer.study.trials):
        lines.append("Pruned trials are not responses: they are listed, and left out otherwise.")
    return lines + honest(answer)


def honest(answer: Answer) -> list[str]:
    """What has to be known of the objective itself."""
    lines = []
    if "miou/best" in answer.study.objectives:
        lines.append(
            "miou/best is selected on target labels: the best of many evaluations, which no one "
            "without these labels could have chosen. miou/last is not."
        )
    elif any(Quantity(key).is_share and "source" not in key for key in answer.study.objectives):
        lines.append("Points are compared on target labels: who has none cannot choose so.")
    return lines


def choice(found: Choice) -> str:
    """What one label-free score would have chosen."""
    objective = Quantity(TARGET)
    known = not math.isnan(found.correlation.mean)
    ranks = (
        f"rank correlation with target mIoU {found.correlation.mean:+.2f} "
        f"(mean over {count(found.correlation.n, 'seed')}, {count(found.points, 'point')})"
        if known
        else f"rank correlation not defined with {count(found.points, 'point')}"
    )
    picks = (
        f"would have chosen {found.chosen.name}, as good as the best"
        if found.cost < 0.005
        else f"would have chosen {found.chosen.name}, which costs {objective.show(found.cost)} "
        f"points of mIoU (a blind choice {objective.show(found.chance)} on average)"
    )
    return f"{found.quantity.name}: {ranks}; {picks}."
