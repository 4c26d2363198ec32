"""The figure of one swept key: the response, and below it the differences to the reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from uda_hydra.studies.report.analyse import StudyAnalysis
from uda_hydra.studies.report.metrics import Metric, shown_value
from uda_hydra.studies.report.plot_style import (
    COLOURS,
    FAINT,
    INK,
    MARKS,
    add_legend,
    literal,
    new_figure,
    set_value_axis,
    style_axes,
)
from uda_hydra.studies.report.points import PointResults, ResponseCurve
from uda_hydra.studies.report.tables import published
from uda_hydra.studies.report.trainings import baselines

ROOM = 1.0
"""How far the axis extends beyond the trials, as a fraction of their span; wider bands are cut."""
APART = 5.0
"""Distance of the intervals of several curves at one value, in typographic points."""


def draw_response(analysis: StudyAnalysis, key: str) -> Figure:
    """An objective over the swept values, and its paired differences to the reference."""
    axis = analysis.points.axis
    assert axis is not None, "a response curve lies on an axis"
    compared = has_differences(analysis)
    figure = new_figure(7.0, 6.4 if compared else 4.4)
    ratios = [3, 2] if compared else [1]
    panels = figure.subplots(len(ratios), sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
    for axes in panels:
        style_axes(axes)
    _draw_means(panels[0], analysis, key)
    if compared:
        _draw_differences(panels[1], analysis, key)
    set_value_axis(panels[-1], analysis.points, axis)
    for axes in panels:
        _mark_reference(axes, analysis, axis)
    add_legend(panels[0])
    return figure


def has_differences(analysis: StudyAnalysis) -> bool:
    """Whether there are points to compare with the reference."""
    return analysis.points.reference is not None and len(analysis.points.compared) > 1


def _draw_means(axes: Axes, analysis: StudyAnalysis, key: str) -> None:
    """Trials, means, bands over seeds, published values, and what the curve is measured against."""
    _mark_equals(axes, analysis, key)
    for number, curve in enumerate(analysis.points.curves):
        _draw_curve(axes, analysis, curve, key, number)
    if key == analysis.key:
        for number, found in enumerate(published(analysis)):
            name = f"published: {found.name}, {found.network} ({found.source})"
            style = {"marker": "x+*"[number % 3], "linestyle": "--", "linewidth": 1}
            axes.plot(*zip(*found.points, strict=True), color=FAINT, label=literal(name), **style)
    _limit(axes, analysis, key)
    _draw_baselines(axes, analysis, key)
    axes.set_ylabel(literal(Metric(key).label))


def _draw_curve(
    axes: Axes, analysis: StudyAnalysis, curve: ResponseCurve, key: str, number: int
) -> None:
    """One curve; categories have no line between them and stand side by side."""
    axis, colour = analysis.points.axis, COLOURS[number]
    assert axis is not None, "a curve lies on an axis"
    is_line = analysis.points.is_number(axis)
    places = _places(analysis, curve, number)
    means = {p: analysis.points.mean(p, key) for p in curve.points}
    ranked = [*filter(analysis.points.is_compared, curve.points)]
    seeds = len(analysis.points.seeds)
    over = f"mean of {seeds} seeds, 95 % CI" if seeds > 1 else "one seed"
    x, y = [places[p] for p in ranked], [means[p].mean for p in ranked]
    low, high = [means[p].low for p in ranked], [means[p].high for p in ranked]
    label = literal(f"{curve.name}: {over}") if curve.fixed else over
    style = {"color": colour, "label": label}
    if is_line:
        axes.plot(x, y, f"{MARKS[number]}-", **style)
        axes.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0)
    else:
        half = [top - middle for top, middle in zip(high, y, strict=True)]
        axes.errorbar(x, y, half, fmt=MARKS[number], capsize=4, **style)
    shift = 0.0 if is_line else 0.04
    dots = [(places[p] + shift, value) for p in curve.points for value in p.scores(key).values()]
    axes.scatter(*_columns(dots), s=14, color=colour, alpha=0.55, linewidths=0)
    hollow = [(places[p], means[p].mean) for p in curve.points if p not in set(ranked)]
    axes.scatter(*_columns(hollow), s=42, facecolors="white", edgecolors=colour, zorder=3)
    reference = analysis.points.reference
    if reference in places:
        at = places[reference], means[reference].mean
        axes.scatter(*at, s=130, facecolors="none", edgecolors=INK, zorder=4)


def _places(
    analysis: StudyAnalysis, curve: ResponseCurve, number: int
) -> dict[PointResults, float]:
    """Where the points of a curve lie on the axis."""
    axis, curves = analysis.points.axis, len(analysis.points.curves)
    assert axis is not None, "a curve lies on an axis"
    is_line = analysis.points.is_number(axis)
    shift = 0.0 if is_line else 0.16 * (number - (curves - 1) / 2)
    return {p: analysis.points.place(axis, p.params[axis]) + shift for p in curve.points}


def _columns(places: Sequence[tuple[float, float]]) -> Float64[np.ndarray, "axes=2 places"]:
    return np.asarray(places, dtype=np.float64).reshape(-1, 2).T


def _mark_equals(axes: Axes, analysis: StudyAnalysis, key: str) -> None:
    """A grey field behind the points that have the same results."""
    curves = enumerate(analysis.points.curves)
    places = {p: x for number, c in curves for p, x in _places(analysis, c, number).items()}
    equal = [point for group in analysis.equals for point in group]
    if equal:
        at = [(places[point], analysis.points.mean(point, key).mean) for point in equal]
        label = "same results: the swept keys had no effect"
        label = label if analysis.is_flat else "same results as another point"
        axes.scatter(*_columns(at), s=180, marker="s", color="#afb8c1", label=label, zorder=0.5)


def _limit(axes: Axes, analysis: StudyAnalysis, key: str) -> None:
    """Cut the axis where bands go far beyond the trials."""
    values = [v for point in analysis.points.all for v in point.scores(key).values()]
    if key == analysis.key:
        values += [value for curve in published(analysis) for _, value in curve.points]
    span = max(values) - min(values) if values else 0.0
    room = ROOM * span or 1.0
    if values:
        bottom, top = axes.get_ylim()
        axes.set_ylim(max(bottom, min(values) - room), min(top, max(values) + room))


def _draw_baselines(axes: Axes, analysis: StudyAnalysis, key: str) -> None:
    """Lines at the start and the oracle; those far away are named and do not stretch the axis."""
    metric = Metric(key)
    for number, found in enumerate(baselines(analysis.study)):
        value, (bottom, top) = found.mean(key).mean, axes.get_ylim()
        if not np.isfinite(value):
            continue
        room = top - bottom
        seen = bottom - room < value < top + room
        name = f"{found.name}: {metric.show(value)} {metric.unit}".rstrip()
        name += "" if seen else " (outside the axis)"
        style = {"color": FAINT, "linestyle": ("-.", (0, (5, 2)))[number % 2], "linewidth": 1.2}
        if seen:
            axes.axhline(value, label=literal(name), **style)
            edge = 0.05 * room
            axes.set_ylim(min(bottom, value - edge), max(top, value + edge))
        else:
            axes.plot([], [], label=literal(name), **style)


def _draw_differences(axes: Axes, analysis: StudyAnalysis, key: str) -> None:
    """Each point minus the reference: a line per seed, the mean and its interval."""
    reference, seeds = analysis.points.reference, analysis.points.seeds
    assert reference is not None, "differences are to the reference"
    curves = analysis.points.curves
    shown, ends = [0.0], [0.0]
    axes.axhline(0, color=INK, linewidth=1)
    for number, curve in enumerate(curves):
        points = [*filter(analysis.points.is_compared, curve.points)]
        if not points:
            continue
        places = _places(analysis, curve, number)
        x = [places[point] for point in points]
        base = reference.scores(key)
        shift = ScaledTranslation(
            APART / 72 * (number - (len(curves) - 1) / 2), 0, axes.figure.dpi_scale_trans
        )
        style = {"color": COLOURS[number], "transform": axes.transData + shift}
        for seed in seeds:
            own = [point.scores(key).get(seed, np.nan) - base.get(seed, np.nan) for point in points]
            axes.plot(x, own, linewidth=0.8, alpha=0.5, **style)
            shown += own
        found = [analysis.against_reference(point, key) for point in points]
        means = [one.mean for one in found]
        ends += [end for one in found for end in (one.low, one.high)]
        half = np.nan_to_num([one.high - one.mean for one in found])
        axes.errorbar(x, means, half, fmt=MARKS[number], capsize=4, markersize=5, **style)
    # Shifted artists do not count for the limits.
    bottom, top = np.nanmin(shown), np.nanmax(shown)
    span = max(top - bottom, 1e-3)
    bottom = max(np.nanmin([bottom, *ends]), bottom - ROOM * span)
    top = min(np.nanmax([top, *ends]), top + ROOM * span)
    axes.set_ylim(bottom - 0.08 * span, top + 0.08 * span)
    axes.set_ylabel(f"minus reference\n[{Metric(key).step.strip() or Metric(key).name}]")


def _mark_reference(axes: Axes, analysis: StudyAnalysis, axis: str) -> None:
    reference = analysis.study.reference
    if axis not in reference:
        return
    place = analysis.points.place(axis, reference[axis])
    axes.axvline(place, color=INK, linestyle=":", linewidth=1.2, zorder=1)
    if axes.get_subplotspec().rowspan.start == 0:
        axes.annotate(
            literal(f"reference: {shown_value(reference[axis])}"),
            (place, 1.0),
            (0, 4),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            color=INK,
        )
