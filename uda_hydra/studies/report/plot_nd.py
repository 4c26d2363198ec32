"""Figures of several swept keys: importance, slices, pairs, parallel coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Float64
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from uda_hydra.files import is_number
from uda_hydra.studies.report.analyse import StudyAnalysis
from uda_hydra.studies.report.metrics import key_label, shown_value
from uda_hydra.studies.report.plot_style import (
    COLOURS,
    INK,
    literal,
    new_figure,
    set_value_axis,
    style_axes,
)
from uda_hydra.studies.report.points import PointResults
from uda_hydra.studies.report.statistics import Estimate

MOST_KEYS = 4
"""Pairs are drawn of the most important keys only."""
WIDTH = 0.12
"""Standard deviation of the kernel that smooths the pairs, as a fraction of the axes."""
GRID = 60
MOST_SLICES, MOST_LINES, MOST_SMOOTHED = 12, 200, 500
"""Panels of slices, lines of parallel coordinates, and points that enter the smoothed ground."""
FEW = 8
"""Up to this many values of a key are written along its axis; of more, only the ends."""


def draw_importance(shares: dict[str, Estimate]) -> Figure:
    """Importance of every key, most important on top; whiskers: range over random forests."""
    figure = new_figure(7.0, 1.1 + 0.5 * len(shares))
    axes = figure.add_subplot()
    style_axes(axes)
    keys = [*reversed(shares)]
    names = [literal(key_label(key)) for key in keys]
    means = [100 * shares[key].mean for key in keys]
    spread = [100 * shares[key].std for key in keys]
    axes.barh(names, means, xerr=spread, color=COLOURS[0], ecolor=INK, capsize=3, height=0.6)
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of the variance of the objective [%]")
    return figure


def draw_slices(analysis: StudyAnalysis, keys: Sequence[str]) -> Figure:
    """The objective against each of the most important keys, whatever the others are."""
    keys = keys[:MOST_SLICES]
    columns = min(len(keys), 3)
    lines = -(-len(keys) // columns)
    figure = new_figure(3.7 * columns, 3.2 * lines)
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel()
    for axes in panels[len(keys) :]:
        axes.set_visible(False)
    for axes, key in zip(panels, keys, strict=False):
        style_axes(axes)
        places = [analysis.points.place(key, p.params[key]) for p in analysis.points.compared]
        means = [analysis.mean(point).mean for point in analysis.points.compared]
        axes.scatter(places, means, s=24, color=COLOURS[0], alpha=0.8)
        set_value_axis(axes, analysis.points, key)
        if key in analysis.study.reference:
            place = analysis.points.place(key, analysis.study.reference[key])
            axes.axvline(place, color=INK, linestyle=":", linewidth=1.2)
    for axes in panels[::columns]:
        axes.set_ylabel(literal(analysis.objective.label))
    return figure


def draw_pairs(analysis: StudyAnalysis, keys: Sequence[str]) -> Figure:
    """The objective over pairs of keys: the points, on a smoothed ground where there are some."""
    couples = [*combinations(keys[:MOST_KEYS], 2)]
    columns = min(len(couples), 3)
    lines = -(-len(couples) // columns)
    figure = new_figure(3.9 * columns + 0.8, 3.4 * lines)
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    colours = _normal(analysis)
    for axes in panels[len(couples) :]:
        axes.set_visible(False)
    for axes, couple in zip(panels, couples, strict=False):
        shown = _pair(axes, analysis, couple, colours)
    figure.colorbar(shown, ax=list(panels), label=literal(analysis.objective.label), shrink=0.8)
    return figure


def _pair(axes: Axes, analysis: StudyAnalysis, keys: tuple[str, str], colours: Normalize):
    points = analysis.points.compared
    places = [[analysis.points.place(key, p.params[key]) for key in keys] for p in points]
    x, y = np.asarray(places, dtype=np.float64).T
    means = np.asarray([analysis.mean(point).mean for point in points])
    set_value_axis(axes, analysis.points, keys[0])
    set_value_axis(axes, analysis.points, keys[1], vertical=True)
    shown = axes.scatter(x, y, c=means, cmap="cividis", norm=colours, s=34, ec="white", lw=0.6)
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
    # In the axes' own measure, so that a logarithmic axis is smoothed as it is seen.
    to_axes = axes.transData + axes.transAxes.inverted()
    at = np.asarray(to_axes.transform(np.column_stack([x, y])))
    side = np.linspace(0, 1, GRID)
    # Evenly spaced through the list: the ground of thousands of points needs no more.
    some = slice(None, None, -(-len(at) // MOST_SMOOTHED))
    ground = smooth(at[some], means[some], side)
    corners = to_axes.inverted().transform(
        np.column_stack([part.ravel() for part in np.meshgrid(side, side)])
    )
    grid = corners.reshape(GRID, GRID, 2)
    axes.contourf(
        grid[..., 0],
        grid[..., 1],
        ground,
        levels=np.linspace(colours.vmin, colours.vmax, 13),
        cmap="cividis",
        norm=colours,
        alpha=0.75,
        zorder=0,
    )
    if all(key in analysis.study.reference for key in keys):
        place = [analysis.points.place(key, analysis.study.reference[key]) for key in keys]
        axes.scatter(*place, marker="x", s=70, color=INK)
    axes.tick_params(labelsize=8)
    return shown


def smooth(
    at: Float64[np.ndarray, "points 2"],
    values: Float64[np.ndarray, " points"],
    side: Float64[np.ndarray, " n"],
) -> Float64[np.ndarray, "n n"]:
    """Mean of the values with Gaussian weights, on a square grid; nan far from every point."""
    grid = np.stack(np.meshgrid(side, side), axis=-1)
    squares = ((grid[:, :, None] - at) ** 2).sum(axis=-1)
    weights = np.exp(-squares / (2 * WIDTH**2))
    total = weights.sum(axis=-1)
    means = (weights * values).sum(axis=-1) / np.maximum(total, 1e-300)
    return np.where(squares.min(axis=-1) < (2 * WIDTH) ** 2, means, np.nan)


def draw_parallel(analysis: StudyAnalysis, keys: Sequence[str]) -> Figure:
    """A line per point through the values of its keys to its objective, coloured by that."""
    keys = keys[:MOST_SLICES]
    figure = new_figure(1.9 * (len(keys) + 1) + 1.0, 4.6)
    axes = figure.add_subplot()
    colours, ramp = _normal(analysis), colormaps["cividis"]
    heights = {key: _heights(analysis, key) for key in keys}
    # The best are drawn last, on top.
    for point in _best_points(analysis):
        mean = analysis.mean(point).mean
        places = [*(heights[key][point] for key in keys), float(colours(mean))]
        name = {analysis.points.reference: "reference", analysis.best: "best"}.get(point)
        axes.plot(
            places,
            "--" if name == "reference" else "-",
            color=INK if name else ramp(colours(mean)),
            linewidth=2.4 if name else 1.0,
            alpha=1.0 if name else 0.7,
            label=name,
            zorder=3 if name else 2,
        )
    for place, key in enumerate(keys):
        _write_values(axes, place, heights[key], key)
    for height, value in ((0.0, colours.vmin), (1.0, colours.vmax)):
        _write(axes, len(keys), height, analysis.objective.show(value))
    names = [literal(name) for name in (*map(key_label, keys), analysis.objective.label)]
    axes.set_xticks(range(len(names)), names, fontsize=8)
    axes.set_yticks([])
    axes.grid(axis="x", color="#8c959f")
    axes.spines[:].set_visible(False)
    figure.legend(loc="outside lower center", fontsize=9, ncols=2, frameon=False)
    return figure


def _best_points(analysis: StudyAnalysis) -> list[PointResults]:
    """The best points, the very best last; the reference is always among them."""

    def rank(point: PointResults) -> tuple[bool, float]:
        return point is analysis.points.reference, analysis.sign * analysis.mean(point).mean

    kept = sorted(analysis.points.compared, key=rank)[-MOST_LINES:]
    return sorted(kept, key=lambda point: analysis.sign * analysis.mean(point).mean)


def _heights(analysis: StudyAnalysis, key: str) -> dict[PointResults, float]:
    """The height of every point on the axis of a key, in 0..1."""
    measures = {p: analysis.points.measure(key, p.params[key]) for p in analysis.points.compared}
    low, high = min(measures.values()), max(measures.values())
    return {point: (value - low) / ((high - low) or 1.0) for point, value in measures.items()}


def _write_values(axes: Axes, place: int, heights: dict[PointResults, float], key: str) -> None:
    """The values of a key along its axis: all of a few, the ends of many."""
    named = {height: shown_value(point.params[key]) for point, height in heights.items()}
    if len(named) > FEW:
        values = {height: point.params[key] for point, height in heights.items()}
        ends = {height: values[height] for height in (min(values), max(values))}
        named = {h: f"{v:.3g}" if is_number(v) else shown_value(v) for h, v in ends.items()}
    for height, name in named.items():
        _write(axes, place, height, name)


def _write(axes: Axes, place: int, height: float, name: str) -> None:
    white = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
    axes.annotate(
        literal(name),
        (place, height),
        (5, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
        bbox=white,
        zorder=4,
    )


def _normal(analysis: StudyAnalysis) -> Normalize:
    """Colours over the means of all compared points."""
    means = [analysis.mean(point).mean for point in analysis.points.compared]
    low, high = min(means), max(means)
    return Normalize(low, high if high > low else low + 1.0)
