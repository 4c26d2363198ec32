"""Figures of one swept key, of two objectives, and of label-free scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
from uda_hydra.studies.report.selection import TARGET, Choice
from uda_hydra.studies.report.tables import published

MOST_NUMBERED = 50
"""Points of a front that are numbered."""
ROOM = 1.0
"""How far the axis extends beyond the trials, as a fraction of their span; wider bands are cut."""


def draw_response(analysis: StudyAnalysis, key: str) -> Figure:
    """An objective over the swept values: trials, mean, band over seeds, the paper's value."""
    axis = analysis.points.axis
    assert axis is not None, "a response curve lies on an axis"
    figure = new_figure(7.6, 4.8)
    axes = figure.add_subplot()
    style_axes(axes)
    for number, curve in enumerate(analysis.points.curves):
        _draw(axes, analysis, curve, key, number)
    if key == analysis.key:
        for number, curve in enumerate(published(analysis)):
            name = f"published: {curve.name}, {curve.network} ({curve.source})"
            style = {"marker": "x+*"[number % 3], "linestyle": "--", "linewidth": 1}
            axes.plot(*zip(*curve.points, strict=True), color=FAINT, label=literal(name), **style)
    _limits(axes, analysis, key)
    set_value_axis(axes, analysis.points, axis)
    _mark_reference(axes, analysis, axis)
    axes.set_ylabel(literal(Metric(key).label))
    add_legend(axes)
    return figure


def _draw(axes: Axes, analysis: StudyAnalysis, curve: ResponseCurve, key: str, number: int) -> None:
    """One curve; categories have no line between them and stand side by side."""
    axis, colour = analysis.points.axis, COLOURS[number]
    assert axis is not None, "a curve lies on an axis"
    is_line, curves = analysis.points.is_number(axis), len(analysis.points.curves)
    shift = 0.0 if is_line else 0.16 * (number - (curves - 1) / 2)
    places = {p: analysis.points.place(axis, p.params[axis]) + shift for p in curve.points}
    means = {p: analysis.points.mean(p, key) for p in curve.points}
    ranked = [*filter(analysis.points.is_compared, curve.points)]
    seeds = len(analysis.points.seeds)
    over = f"mean of {seeds} seeds, 95 % t-interval" if seeds > 1 else "one seed: no interval"
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


def _columns(places: Sequence[tuple[float, float]]) -> Float64[np.ndarray, "axes=2 places"]:
    return np.asarray(places, dtype=np.float64).reshape(-1, 2).T


def _limits(axes: Axes, analysis: StudyAnalysis, key: str) -> None:
    values = [v for point in analysis.points.all for v in point.scores(key).values()]
    if key == analysis.key:
        values += [value for curve in published(analysis) for _, value in curve.points]
    span = max(values) - min(values) if values else 0.0
    room = ROOM * span or 1.0
    if values:
        bottom, top = axes.get_ylim()
        axes.set_ylim(max(bottom, min(values) - room), min(top, max(values) + room))


def _mark_reference(axes: Axes, analysis: StudyAnalysis, axis: str) -> None:
    reference = analysis.study.reference
    if axis not in reference:
        return
    place = analysis.points.place(axis, reference[axis])
    axes.axvline(place, color=INK, linestyle=":", linewidth=1.2, zorder=1)
    axes.annotate(
        literal(f"paper: {shown_value(reference[axis])}"),
        (place, 1.0),
        (0, 4),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="center",
        fontsize=9,
        color=INK,
    )


def draw_pareto(analysis: StudyAnalysis) -> Figure:
    """Two objectives against each other, and the front of the points that none beats."""
    first, second = analysis.study.objectives[:2]
    figure = new_figure(7.0, 4.8)
    axes = figure.add_subplot()
    style_axes(axes)

    def places(points: tuple[PointResults, ...]) -> list[tuple[float, float]]:
        mean = analysis.points.mean
        return [(mean(p, second).mean, mean(p, first).mean) for p in points]

    front = {*analysis.front}
    others = tuple(p for p in analysis.points.compared if p not in front)
    if others:
        x, y = zip(*places(others), strict=True)
        axes.scatter(x, y, s=30, color=FAINT, label="beaten by another point")
    x, y = zip(*sorted(places(analysis.front)), strict=True)
    axes.plot(x, y, "o-", color=COLOURS[1], linewidth=1.2, label="Pareto front")
    # Numbers, because values would cover the points; the table holds the values.
    for number, place in enumerate(places(analysis.front[:MOST_NUMBERED]), start=1):
        axes.annotate(str(number), place, (6, -12), textcoords="offset points", fontsize=9)
    if analysis.points.reference:
        ((x, y),) = places((analysis.points.reference,))
        axes.scatter(x, y, s=140, facecolors="none", edgecolors=INK, label="paper")
    axes.set_xlabel(literal(Metric(second).label))
    axes.set_ylabel(literal(Metric(first).label))
    add_legend(axes)
    return figure


def draw_label_free(analysis: StudyAnalysis, choices: tuple[Choice, ...]) -> Figure:
    """Target mIoU against every label-free score: means of points, and what each would choose."""
    figure = new_figure(3.6 * len(choices) + 0.4, 3.9)
    panels = figure.subplots(1, len(choices), sharey=True, squeeze=False)[0]
    for axes, found in zip(panels, choices, strict=True):
        style_axes(axes)
        key = found.metric.key
        points = analysis.points.compared
        means = [
            (analysis.points.mean(p, key).mean, analysis.points.mean(p, TARGET).mean)
            for p in points
        ]
        axes.scatter(*np.transpose(means), s=26, color=COLOURS[0], label="point")
        marked = ((found.chosen, "D", COLOURS[1], "its choice"), (found.best, "o", INK, "best"))
        for point, mark, colour, name in marked:
            place = means[points.index(point)]
            axes.scatter(
                *place, s=130, marker=mark, facecolors="none", edgecolors=colour, label=name
            )
        axes.set_xlabel(found.metric.label, fontsize=9)
        better = "low" if found.low_is_good else "high"
        rank = found.correlation.mean
        known = "not defined" if np.isnan(rank) else f"{rank:+.2f}"
        axes.set_title(f"rank correlation {known} ({better} is good)", fontsize=9)
    panels[0].set_ylabel(Metric(TARGET).label)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    return figure
