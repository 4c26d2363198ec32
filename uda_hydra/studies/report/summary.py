"""What a study shows, as findings in the order of their importance."""

from __future__ import annotations

import math
from collections.abc import Iterable

from uda_hydra.studies.report import comparisons
from uda_hydra.studies.report.analyse import Range, StudyAnalysis
from uda_hydra.studies.report.findings import (
    Finding,
    count,
    make_finding,
    shown_list,
    shown_tolerance,
)
from uda_hydra.studies.report.importance import importance
from uda_hydra.studies.report.metrics import Metric, shown_value
from uda_hydra.studies.report.points import PointResults
from uda_hydra.studies.report.selection import TARGET, Choice
from uda_hydra.studies.report.statistics import estimate


def describe_progress(analysis: StudyAnalysis) -> str:
    """How much of the study is complete."""
    states = [trial.state for trial in analysis.study.trials]
    done = len(analysis.complete)
    text = f"{done} of {len(states)} trials complete: {count(len(analysis.points.all), 'point')}"
    text += f", {count(len(analysis.points.seeds), 'seed')}" if done else ""
    unhappy = ("failed", "retried", "interrupted", "pruned", "running", "waiting")
    others = [(states.count(state), state) for state in unhappy]
    others.append((len(analysis.not_finite), "not finite"))
    rest = ", ".join(f"{number} {state}" for number, state in others if number)
    return f"{text}; {rest}" if rest else text


def find_all(analysis: StudyAnalysis) -> list[Finding]:
    """What can be said, most important first."""
    if analysis.best is None:
        return [make_finding(analysis, "no trials")]
    if not analysis.points.keys:
        alone = _seeds_alone(analysis, analysis.best)
        return [alone, *_zero_terms(analysis), *_cautions_of_objective(analysis)]
    if analysis.is_flat:
        return [*_idle_terms(analysis), *_equals(analysis), *_cautions(analysis)]
    return [
        *_front(analysis),
        _best(analysis, analysis.best),
        *comparisons.compare_best(analysis, analysis.best),
        *comparisons.compare_others(analysis),
        *find_ranges(analysis),
        *(one for found in analysis.ranges for one in comparisons.effect_of(analysis, found)),
        *comparisons.compare_curves(analysis),
        *_importance(analysis),
        *comparisons.compare_classes(analysis, analysis.best),
        *_idle_terms(analysis),
        *_equals(analysis),
        *_cautions(analysis),
    ]


def find_ranges(analysis: StudyAnalysis) -> list[Finding]:
    """Which values are as good as the best: for each curve, or for all keys together."""
    if analysis.best is None or not analysis.points.keys or analysis.is_flat:
        return []
    return [_range(analysis, found) for found in analysis.ranges] or [_region(analysis)]


def find_choices(analysis: StudyAnalysis, found: Iterable[Choice]) -> list[Finding]:
    """What each label-free score would have chosen."""
    return [_choice(analysis, choice) for choice in found]


def _seeds_alone(analysis: StudyAnalysis, point: PointResults) -> Finding:
    """The spread between seeds, where no key is swept."""
    found = analysis.mean(point)
    kind = "seeds" if found.n > 1 else "one seed"
    return make_finding(analysis, kind, mean=found.mean, std=found.std, seeds=found.n)


def _best(analysis: StudyAnalysis, best: PointResults) -> Finding:
    found = analysis.mean(best)
    return make_finding(
        analysis,
        "best",
        points=len(analysis.points.compared),
        best=best.name,
        mean=found.mean,
        over=f"mean of {found.n} seeds" if found.n > 1 else "one seed",
    )


def _front(analysis: StudyAnalysis) -> list[Finding]:
    keys = analysis.study.objectives
    if len(keys) < 2 or not analysis.front:
        return []

    def means(point: PointResults) -> str:
        shown = (Metric(key).show(analysis.points.mean(point, key).mean) for key in keys)
        return f"{point.name} ({', '.join(shown)})"

    return [
        make_finding(
            analysis,
            "front",
            metrics=" and ".join(Metric(key).name for key in keys),
            front=len(analysis.front),
            points=len(analysis.points.compared),
            names=shown_list([means(point) for point in analysis.front], "; "),
        )
    ]


def _range(analysis: StudyAnalysis, found: Range) -> Finding:
    axis = analysis.points.axis
    assert axis is not None, "a range lies on an axis"
    names = [shown_value(point.params[axis]) for point in found.points]
    values = sum(map(analysis.points.is_compared, found.curve.points))
    kind = "narrow range" if len(names) == 1 else "range"
    if not analysis.points.is_number(axis):
        kind = "range of categories"
    elif values == 1:
        kind = "range of one"
    sides = (("smallest", found.open_below), ("largest", found.open_above))
    ends = " and the ".join(name for name, is_open in sides if is_open)
    best = analysis.objective.show(analysis.mean(found.best).mean)
    return make_finding(
        analysis,
        kind,
        key=comparisons.curve_key(analysis, found),
        doubt=_doubt(analysis),
        names=", ".join(names),
        first=names[0],
        last=names[-1],
        inside=len(names),
        values=values,
        reach=shown_tolerance(analysis),
        best=f"{shown_value(found.best.params[axis])}: {best}",
        ends=f"; it may extend beyond the {ends} value" if ends else "",
    )


def _doubt(analysis: StudyAnalysis) -> str:
    return " (one seed)" if len(analysis.points.seeds) == 1 else ""


def _region(analysis: StudyAnalysis) -> Finding:
    """The robust range of many keys: what the good points have in common."""
    return make_finding(
        analysis,
        "region",
        inside=len(analysis.within),
        verb="is" if len(analysis.within) == 1 else "are",
        points=len(analysis.points.compared),
        reach=shown_tolerance(analysis),
        doubt=_doubt(analysis),
        spans="; ".join(f"{key} {_span(analysis, key)}" for key in analysis.points.keys),
    )


def _span(analysis: StudyAnalysis, key: str) -> str:
    """The values of a key among the points within the tolerance."""
    values, tried = {p.params[key] for p in analysis.within}, analysis.points.tried(key)
    names = [shown_value(value) for value in tried if value in values]
    everything = " (all)" if len(names) == len(tried) else ""
    if analysis.points.is_number(key) and len(names) > 1:
        return f"{names[0]} to {names[-1]}{everything}"
    return f"{shown_list(names)}{everything}"


def _importance(analysis: StudyAnalysis) -> list[Finding]:
    shares = importance(analysis)
    shown = ", ".join(f"{key} {100 * share.mean:.0f} %" for key, share in shares.items())
    return [make_finding(analysis, "importance", shares=shown)] if shares else []


def _cautions(analysis: StudyAnalysis) -> list[Finding]:
    """The limits of what the numbers show."""
    found, points = [], analysis.points
    if len(points.seeds) == 1:
        found.append(make_finding(analysis, "caution: one seed"))
    elif len(points.compared) > 1:
        spread = estimate([analysis.mean(point).std for point in points.compared]).mean
        found.append(make_finding(analysis, "caution: spread", spread=spread))
    if len(points.compared) < len(points.all):
        found.append(
            make_finding(
                analysis,
                "caution: unequal seeds",
                compared=len(points.compared),
                points=len(points.all),
                names=", ".join(map(str, points.seeds)),
            )
        )
    if any(trial.state == "pruned" for trial in analysis.study.trials):
        found.append(make_finding(analysis, "caution: pruned"))
    return found + _zero_terms(analysis) + _cautions_of_objective(analysis)


def _zero_terms(analysis: StudyAnalysis) -> list[Finding]:
    """The terms of the loss that were 0 throughout a training, though their weight is not."""
    swept = analysis.idle_terms().values()
    idle = {name: number for name, number in analysis.zero_terms.items() if name not in swept}
    names = shown_list([f"{name} ({count(number, 'training')})" for name, number in idle.items()])
    return [make_finding(analysis, "caution: zero terms", names=names)] if idle else []


def _idle_terms(analysis: StudyAnalysis) -> list[Finding]:
    """The swept weights of terms that were 0 throughout every training."""
    return [
        make_finding(analysis, "idle term", key=key, term=term)
        for key, term in analysis.idle_terms().items()
    ]


def _equals(analysis: StudyAnalysis) -> list[Finding]:
    """The points that have the same results."""
    if analysis.is_flat:
        (group,) = analysis.equals
        mean = analysis.mean(group[0]).mean
        return [make_finding(analysis, "flat", points=len(group), mean=mean)]
    groups = [" = ".join(point.name for point in group) for group in analysis.equals]
    return [make_finding(analysis, "equal", names=shown_list(groups, "; "))] if groups else []


def _cautions_of_objective(analysis: StudyAnalysis) -> list[Finding]:
    """Whether the objective is computed on target labels."""
    if "miou/best" in analysis.study.objectives:
        return [make_finding(analysis, "caution: best")]
    keys = analysis.study.objectives
    labelled = any(Metric(key).is_share and "source" not in key for key in keys)
    return [make_finding(analysis, "caution: labels")] if labelled else []


def _choice(analysis: StudyAnalysis, found: Choice) -> Finding:
    objective, rank = Metric(TARGET), found.correlation
    cost = (
        ", as good as the best"
        if found.cost < 0.005
        else f", which costs {objective.show(found.cost)} points of mIoU "
        f"(a random choice: {objective.show(found.chance)})"
    )
    return make_finding(
        analysis,
        "selection, no rank" if math.isnan(rank.mean) else "selection",
        score=found.metric.name,
        rank=f"{rank.mean:+.2f}",
        seeds=rank.n,
        points=found.points,
        chosen=found.chosen.name,
        cost=cost,
    )
