"""The answer of a study in sentences. What the seeds cannot tell is not said."""

from __future__ import annotations

import math

from uda_hydra.studies.answer import Answer, Range
from uda_hydra.studies.label_free import TARGET, Choice
from uda_hydra.studies.points import Curve, Point, same
from uda_hydra.studies.quantities import Quantity, written
from uda_hydra.studies.statistics import LEVEL, Estimate, estimate, paired

NO_DIFFERENCE = "no difference can be told"


def progress(answer: Answer) -> str:
    """How much of the study is there."""
    states = [trial.state for trial in answer.study.trials]
    whole, points, seeds = len(states), len(answer.points.all), len(answer.points.seeds)
    bad = len(answer.not_finite)
    done = len(answer.complete)
    text = f"{done} of {whole} trials complete: {_count(points, 'point')}"
    text += f", {_count(seeds, 'seed')}" if done else ""
    others = [(states.count(state), state) for state in ("failed", "pruned", "running", "waiting")]
    others.append((bad, "not finite"))
    rest = ", ".join(f"{count} {state}" for count, state in others if count)
    text += f"; {rest}" if rest else ""
    unfinished = states.count("running") + states.count("waiting")
    return text + (f"; unfinished: {unfinished} of {whole}" if unfinished else "")


def statements(answer: Answer) -> list[str]:
    """What can be said, most important first."""
    if answer.best is None:
        return ["No trial is complete with a finite objective: there is nothing to tell yet."]
    lines = [_best(answer), *_difference(answer)]
    lines += robust_ranges(answer)
    for found in answer.ranges:
        lines += _effect(answer, found)
    return [*lines, *_between_curves(answer), *_classes(answer), *_cautions(answer)]


def robust_ranges(answer: Answer) -> list[str]:
    """Which values are as good as the best: for each curve, or for all keys together."""
    if answer.best is None:
        return []
    return [_range(answer, found) for found in answer.ranges] or [_within(answer)]


def _best(answer: Answer) -> str:
    best = answer.best
    assert best is not None, "asked without a complete trial"
    found = answer.mean(best)
    over = f"mean of {found.n} seeds" if found.n > 1 else "one seed"
    value = f"{answer.objective.label} {answer.objective.show(found.mean)} ({over})"
    return f"Best of {_count(len(answer.points.compared), 'point')}: {best.name}, {value}."


def _difference(answer: Answer) -> list[str]:
    """The best against the paper's point."""
    best, reference = answer.best, answer.points.reference
    if reference is None:
        return ["The paper's point is not among those compared: nothing is said against it."]
    if best is None or best is reference:
        return ["The best point is the paper's."] if best else []
    # Every other point could have been the best one.
    comparisons = len(answer.points.compared) - 1
    alone = answer.against_reference(best, answer.key)
    together = answer.against_reference(best, answer.key, comparisons)
    start = f"Best against the paper's {reference.name}: "
    if alone.n < 2:
        return [start + f"{NO_DIFFERENCE} with one seed."]
    start += f"{_shown(answer.objective, alone)} over {alone.n} seeds (paired)"
    if not alone.differs:
        return [f"{start}: {NO_DIFFERENCE}."]
    chosen = f"allowing for having chosen the best of {comparisons}"
    widened = _span(answer.objective, together)
    if not together.differs:
        return [f"{start}; {chosen}, {widened}: {NO_DIFFERENCE}."]
    return [f"{start}; {chosen}, {widened}: they differ."]


def _range(answer: Answer, found: Range) -> str:
    axis, objective = answer.points.axis, answer.objective
    assert axis is not None, "a range lies on an axis"
    names = [written(point.params[axis]) for point in found.points]
    reach = f"{answer.tolerance:.3g}{objective.step} of the best ({_at(answer, found.best, axis)})"
    where = f" with {found.curve.name}" if found.curve.fixed else ""
    start = f"Robust range of {axis}{where}: "
    of = len([p for p in found.curve.points if p in answer.points.compared])
    if not answer.points.is_number(axis):
        return f"{start}{', '.join(names)}, {len(names)} of {of} tried, are within {reach}."
    if len(names) == 1:
        return f"{start}{names[0]} alone; no neighbour of the {of} values tried is within {reach}."
    ends = [
        name
        for name, is_open in (("smallest", found.open_below), ("largest", found.open_above))
        if is_open
    ]
    beyond = f"; it reaches the {' and the '.join(ends)} value tried and may go on" if ends else ""
    return (
        f"{start}{names[0]} to {names[-1]} ({len(names)} of {of} values tried) are within "
        f"{reach}{beyond}."
    )


def _at(answer: Answer, point: Point, axis: str) -> str:
    return f"{written(point.params[axis])}: {answer.objective.show(answer.mean(point).mean)}"


def _effect(answer: Answer, found: Range) -> list[str]:
    """Whether the value matters at all along a curve."""
    if math.isnan(found.effect):
        return []
    chance = "p < 0.001" if found.effect < 0.001 else f"p = {found.effect:.3f}"
    test = f"({chance}, F-test with seeds as blocks)"
    what = f"{answer.points.axis}" + (f" with {found.curve.name}" if found.curve.fixed else "")
    if found.effect < 1 - LEVEL:
        return [f"Over all its values {what} changes the {answer.objective.name} {test}."]
    return [f"Over all its values no effect of {what} can be told {test}."]


def _within(answer: Answer) -> str:
    """The robust range of many parameters: what the good points have in common."""
    points, compared = answer.within, answer.points.compared
    reach = f"{answer.tolerance:.3g}{answer.objective.step}"
    text = f"{len(points)} of {_count(len(compared), 'point')} are within {reach} of the best"
    spans = []
    for key in answer.points.keys:
        values = [point.params[key] for point in points]
        names = [written(v) for v in answer.points.tried(key) if v in values]
        whole = len(names) == len(answer.points.tried(key))
        span = f"{names[0]} to {names[-1]}" if answer.points.is_number(key) else ", ".join(names)
        spans.append(f"{key} {names[0] if len(names) == 1 else span}{' (all)' if whole else ''}")
    return f"{text}; among them {'; '.join(spans)}."


def _between_curves(answer: Answer) -> list[str]:
    """Every curve against the paper's, each seed averaged over the values that both have."""
    lines = []
    curves = answer.points.curves
    if len(curves) < 2:
        return []
    paper = (curve for curve in curves if same(curve.fixed, answer.study.reference))
    second = next(paper, curves[0])
    others, seeds = [curve for curve in curves if curve is not second], answer.points.seeds
    for first in others:
        pairs = [(a, b) for a in first.points for b in second.points if _beside(answer, a, b)]
        if not pairs:
            continue
        means = [
            {s: estimate([pair[side].scores(answer.key)[s] for pair in pairs]).mean for s in seeds}
            for side in (0, 1)
        ]
        gap = paired(*means, comparisons=len(others))
        lines.append(_curve_pair(answer, first, second, gap, len(pairs)))
    return lines


def _beside(answer: Answer, first: Point, second: Point) -> bool:
    axis, compared = answer.points.axis, answer.points.compared
    assert axis is not None, "curves lie on an axis"
    alike = same({axis: first.params[axis]}, second.params)
    return alike and first in compared and second in compared


def _curve_pair(answer: Answer, first: Curve, second: Curve, gap: Estimate, values: int) -> str:
    start = f"{first.name} against {second.name}, averaged over {_count(values, 'value')}: "
    if gap.n < 2:
        return start + f"{NO_DIFFERENCE} with one seed."
    told = "they differ" if gap.differs else NO_DIFFERENCE
    return f"{start}{_shown(answer.objective, gap)} over {gap.n} seeds (paired): {told}."


def _classes(answer: Answer) -> list[str]:
    """Which classes gain and which pay at the best point."""
    best, reference = answer.best, answer.points.reference
    if not answer.classes or best is None or reference is None or best is reference:
        return []
    if len(answer.points.seeds) < 2:
        return []
    count = len(answer.classes)
    changes = {
        name: answer.against_reference(best, f"iou/{name}", count) for name in answer.classes
    }
    told = {name: change for name, change in changes.items() if change.differs}
    start = "Classes at the best point against the paper's"
    if not told:
        return [f"{start}: of {count}, no class can be told to gain or to pay."]
    ordered = sorted(told.items(), key=lambda item: item[1].mean)
    shown = ", ".join(f"{name} {change.mean:+.1f}" for name, change in ordered)
    return [f"{start}, points of IoU, allowing for {count} classes: {shown}."]


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
        lines.append(
            "The values of the swept keys are compared on target labels; who has none cannot "
            "choose by them (see the label-free scores)."
        )
    return lines


def choice(found: Choice) -> str:
    """What one label-free score would have chosen."""
    objective = Quantity(TARGET)
    known = not math.isnan(found.correlation.mean)
    ranks = (
        f"rank correlation with target mIoU {found.correlation.mean:+.2f} "
        f"(mean over {_count(found.correlation.n, 'seed')}, {_count(found.points, 'point')})"
        if known
        else f"rank correlation not defined with {_count(found.points, 'point')}"
    )
    picks = (
        f"would have chosen {found.chosen.name}, the best"
        if found.cost <= 0
        else f"would have chosen {found.chosen.name}, which costs {objective.show(found.cost)} "
        f"points of mIoU (a blind choice {objective.show(found.chance)} on average)"
    )
    return f"{found.quantity.name}: {ranks}; {picks}."


def _shown(quantity: Quantity, found: Estimate) -> str:
    difference = f"{quantity.show(found.mean, '+')}{quantity.step}"
    return f"{difference}, {LEVEL:.0%} interval {_span(quantity, found)}"


def _span(quantity: Quantity, found: Estimate) -> str:
    return f"[{quantity.show(found.low, '+')}, {quantity.show(found.high, '+')}]"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
