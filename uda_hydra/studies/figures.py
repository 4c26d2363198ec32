"""Figures of one swept key: response curves, classes; and of two objectives and free scores."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from uda_hydra.studies.answer import Answer
from uda_hydra.studies.canvas import (
    COLOURS,
    FAINT,
    INK,
    MARKS,
    legend,
    new,
    plain,
    value_axis,
)
from uda_hydra.studies.label_free import TARGET, Choice
from uda_hydra.studies.points import Curve, Point
from uda_hydra.studies.quantities import Quantity, written
from uda_hydra.studies.tables import published

ROOM = 1.0
"""How far the axis goes beyond the trials, in parts of their span; wider bands are cut off."""


def response(answer: Answer, key: str) -> Figure:
    """An objective over the swept values: trials, mean, band over seeds, the paper's value."""
    axis = answer.points.axis
    assert axis is not None, "a response curve lies on an axis"
    figure = new(7.6, 4.8)
    axes = figure.add_subplot()
    plain(axes)
    for number, curve in enumerate(answer.points.curves):
        _draw(axes, answer, curve, key, number)
    if key == answer.key:
        for number, curve in enumerate(published(answer)):
            name = f"published: {curve.name}, {curve.network} ({curve.source})"
            style = {"marker": "x+*"[number % 3], "linestyle": "--", "linewidth": 1}
            axes.plot(*zip(*curve.points, strict=True), color=FAINT, label=name, **style)
    _limits(axes, answer, key)
    value_axis(axes, answer.points, axis)
    _mark_reference(axes, answer, axis)
    axes.set_ylabel(Quantity(key).label)
    legend(axes)
    return figure


def _draw(axes: Axes, answer: Answer, curve: Curve, key: str, number: int) -> None:
    """One curve; categories have no line between them and stand side by side."""
    axis, colour = answer.points.axis, COLOURS[number]
    assert axis is not None, "a curve lies on an axis"
    is_line, curves = answer.points.is_number(axis), len(answer.points.curves)
    shift = 0.0 if is_line else 0.16 * (number - (curves - 1) / 2)
    places = {p: answer.points.place(axis, p.params[axis]) + shift for p in curve.points}
    means = {p: answer.points.mean(p, key) for p in curve.points}
    ranked = [p for p in curve.points if p in answer.points.compared]
    seeds = len(answer.points.seeds)
    over = f"mean of {seeds} seeds, 95 % t-interval" if seeds > 1 else "one seed: no interval"
    x, y = [places[p] for p in ranked], [means[p].mean for p in ranked]
    low, high = [means[p].low for p in ranked], [means[p].high for p in ranked]
    style = {"color": colour, "label": f"{curve.name}: {over}" if curve.fixed else over}
    if is_line:
        axes.plot(x, y, f"{MARKS[number]}-", **style)
        axes.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0)
    else:
        half = [top - middle for top, middle in zip(high, y, strict=True)]
        axes.errorbar(x, y, half, fmt=MARKS[number], capsize=4, **style)
    for point in curve.points:
        values = [*point.scores(key).values()]
        beside = [places[point] + (0.0 if is_line else 0.04)] * len(values)
        axes.scatter(beside, values, s=14, color=colour, alpha=0.55, linewidths=0)
        at = places[point], means[point].mean
        if point not in ranked:
            axes.scatter(*at, s=42, facecolors="white", edgecolors=colour, zorder=3)
        if point is answer.points.reference:
            axes.scatter(*at, s=130, facecolors="none", edgecolors=INK, zorder=4)


def _limits(axes: Axes, answer: Answer, key: str) -> None:
    values = [v for point in answer.points.all for v in point.scores(key).values()]
    if key == answer.key:
        values += [value for curve in published(answer) for _, value in curve.points]
    span = max(values) - min(values) if values else 0.0
    room = ROOM * span or 1.0
    if values:
        bottom, top = axes.get_ylim()
        axes.set_ylim(max(bottom, min(values) - room), min(top, max(values) + room))


def _mark_reference(axes: Axes, answer: Answer, axis: str) -> None:
    reference = answer.study.reference
    if axis not in reference:
        return
    place = answer.points.place(axis, reference[axis])
    axes.axvline(place, color=INK, linestyle=":", linewidth=1.2, zorder=1)
    axes.annotate(
        f"paper: {written(reference[axis])}",
        (place, 1.0),
        (0, 4),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="center",
        fontsize=9,
        color=INK,
    )


def pareto(answer: Answer) -> Figure:
    """Two objectives against each other, and the front of the points that none beats."""
    first, second = answer.study.objectives[:2]
    figure = new(7.0, 4.8)
    axes = figure.add_subplot()
    plain(axes)

    def places(points: tuple[Point, ...]) -> list[tuple[float, float]]:
        mean = answer.points.mean
        return [(mean(p, second).mean, mean(p, first).mean) for p in points]

    others = tuple(p for p in answer.points.compared if p not in answer.front)
    if others:
        x, y = zip(*places(others), strict=True)
        axes.scatter(x, y, s=30, color=FAINT, label="beaten by another point")
    x, y = zip(*sorted(places(answer.front)), strict=True)
    axes.plot(x, y, "o-", color=COLOURS[1], linewidth=1.2, label="Pareto front")
    # Numbers and not values, which would cover the points; the table tells them.
    for number, place in enumerate(places(answer.front), start=1):
        axes.annotate(str(number), place, (6, -12), textcoords="offset points", fontsize=9)
    if answer.points.reference:
        ((x, y),) = places((answer.points.reference,))
        axes.scatter(x, y, s=140, facecolors="none", edgecolors=INK, label="paper")
    axes.set_xlabel(Quantity(second).label)
    axes.set_ylabel(Quantity(first).label)
    legend(axes)
    return figure


def free_scores(answer: Answer, choices: tuple[Choice, ...]) -> Figure:
    """Target mIoU against every label-free score: means of points, and what each would choose."""
    figure = new(3.6 * len(choices) + 0.4, 3.9)
    panels = figure.subplots(1, len(choices), sharey=True, squeeze=False)[0]
    for axes, found in zip(panels, choices, strict=True):
        plain(axes)
        key = found.quantity.key
        points = answer.points.compared
        means = [
            (answer.points.mean(p, key).mean, answer.points.mean(p, TARGET).mean) for p in points
        ]
        axes.scatter(*np.transpose(means), s=26, color=COLOURS[0], label="point")
        marked = ((found.chosen, "D", COLOURS[1], "its choice"), (found.best, "o", INK, "best"))
        for point, mark, colour, name in marked:
            place = means[points.index(point)]
            axes.scatter(
                *place, s=130, marker=mark, facecolors="none", edgecolors=colour, label=name
            )
        axes.set_xlabel(found.quantity.label, fontsize=9)
        better = "low" if found.low_is_good else "high"
        rank = found.correlation.mean
        known = "not defined" if np.isnan(rank) else f"{rank:+.2f}"
        axes.set_title(f"rank correlation {known} ({better} is good)", fontsize=9)
    panels[0].set_ylabel(Quantity(TARGET).label)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    return figure
