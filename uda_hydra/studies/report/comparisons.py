"""Which differences between points are significant over the seeds; with one seed, none."""

from __future__ import annotations

import math

from uda_hydra.studies.report.analyse import Range, StudyAnalysis
from uda_hydra.studies.report.findings import Finding, make_finding, shown_list
from uda_hydra.studies.report.points import (
    PointResults,
    ResponseCurve,
    same,
    shown_point,
)
from uda_hydra.studies.report.statistics import LEVEL, Estimate, estimate, paired


def compare_best(analysis: StudyAnalysis, best: PointResults) -> list[Finding]:
    """The best point against the reference."""
    reference = analysis.points.reference
    if reference is None:
        given = shown_point(analysis.study.reference)
        return [make_finding(analysis, "no reference", reference=given)] if given else []
    if best is reference:
        return [make_finding(analysis, "best is reference")]
    # Every other point could have been the best one.
    others = len(analysis.points.compared) - 1
    alone = analysis.against_reference(best, analysis.key)
    together = analysis.against_reference(best, analysis.key, others)
    kind = "best, one seed" if alone.n < 2 else "best, chosen" if alone.differs else "best, same"
    return [
        make_finding(
            analysis,
            kind,
            reference=reference.name,
            others=others,
            wide_low=together.low,
            wide_high=together.high,
            verdict=_verdict(analysis, together),
            **_interval(alone),
        )
    ]


def compare_others(analysis: StudyAnalysis) -> list[Finding]:
    """The points that differ from the reference, all of them compared at once."""
    reference = analysis.points.reference
    others = [point for point in analysis.points.compared if point is not reference]
    if reference is None or len(analysis.points.seeds) < 2 or not others:
        return []
    gaps = {p: analysis.against_reference(p, analysis.key, len(others)) for p in others}
    shown = [
        f"{point.name} ({analysis.objective.show(gap.mean, '+')})"
        for point, gap in gaps.items()
        if gap.differs
    ]
    if len(others) == 1:
        kind = "other differs" if shown else "other is alike"
        return [make_finding(analysis, kind, names=shown_list(shown))]
    names = f": {shown_list(shown)}" if shown else ""
    return [
        make_finding(
            analysis,
            "others",
            others=len(others),
            different=str(len(shown) or "None"),
            verb="differs" if len(shown) == 1 else "differ",
            names=names,
        )
    ]


def effect_of(analysis: StudyAnalysis, found: Range) -> list[Finding]:
    """Whether the value matters at all along a curve."""
    if math.isnan(found.effect):
        return []
    return [
        make_finding(
            analysis,
            "effect" if found.effect < 1 - LEVEL else "no effect",
            key=curve_key(analysis, found),
            chance="p < 0.001" if found.effect < 0.001 else f"p = {found.effect:.3f}",
        )
    ]


def compare_curves(analysis: StudyAnalysis) -> list[Finding]:
    """Every curve against the reference's, each seed averaged over the values that both have."""
    curves = analysis.points.curves
    if len(curves) < 2:
        return []
    given = (curve for curve in curves if same(curve.fixed, analysis.study.reference))
    second = next(given, curves[0])
    others = [curve for curve in curves if curve is not second]
    pairs = {curve: _shared_values(analysis, curve, second) for curve in others}
    return [
        _curve_pair(analysis, first, second, shared, sum(map(bool, pairs.values())))
        for first, shared in pairs.items()
        if shared
    ]


def compare_classes(analysis: StudyAnalysis, best: PointResults) -> list[Finding]:
    """Which classes gain and which lose at the best point."""
    reference, classes = analysis.points.reference, analysis.classes
    if not classes or reference is None or best is reference or len(analysis.points.seeds) < 2:
        return []
    # Every other point could have been the best one, as in ``compare_best``.
    others = len(analysis.points.compared) - 1
    together = len(classes) * others
    gaps = {c: analysis.against_reference(best, f"iou/{c}", together) for c in classes}
    ordered = sorted(gaps.items(), key=lambda item: item[1].mean)
    names = ", ".join(f"{name} {gap.mean:+.1f}" for name, gap in ordered if gap.differs)
    return [
        make_finding(
            analysis,
            "classes" if names else "no class",
            classes=len(classes),
            others=others,
            names=names,
        )
    ]


def curve_key(analysis: StudyAnalysis, found: Range) -> str:
    """The swept key of a curve, and the values that distinguish the curve."""
    return f"{analysis.points.axis}" + (f" with {found.curve.name}" if found.curve.fixed else "")


def _verdict(analysis: StudyAnalysis, found: Estimate) -> str:
    """Whether a difference is significant, and whether it matters."""
    if not found.differs:
        return "Not significant"
    small = abs(found.mean) <= analysis.tolerance
    return "Significant" + (", but within the robust range" if small else "")


def _interval(found: Estimate) -> dict[str, float | int]:
    return {"gap": found.mean, "low": found.low, "high": found.high, "seeds": found.n}


Pairs = list[tuple[PointResults, PointResults]]


def _shared_values(analysis: StudyAnalysis, first: ResponseCurve, second: ResponseCurve) -> Pairs:
    axis, points = analysis.points.axis, analysis.points
    assert axis is not None, "curves lie on an axis"
    return [
        (a, b)
        for a in first.points
        for b in second.points
        if same({axis: a.params[axis]}, b.params)
        and points.is_compared(a)
        and points.is_compared(b)
    ]


def _curve_pair(
    analysis: StudyAnalysis, first: ResponseCurve, second: ResponseCurve, pairs: Pairs, others: int
) -> Finding:
    key, seeds = analysis.key, analysis.points.seeds
    means = [
        {seed: estimate([pair[side].scores(key)[seed] for pair in pairs]).mean for seed in seeds}
        for side in (0, 1)
    ]
    alone, together = paired(*means), paired(*means, comparisons=others)
    kind = "curves, one seed" if alone.n < 2 else "curves" if others < 2 else "curves, several"
    return make_finding(
        analysis,
        kind,
        first=first.name,
        second=second.name,
        values=len(pairs),
        others=others,
        wide_low=together.low,
        wide_high=together.high,
        verdict=_verdict(analysis, together),
        **_interval(alone),
    )
