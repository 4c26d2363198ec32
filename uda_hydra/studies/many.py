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

from uda_hydra.studies.answer import Answer
from uda_hydra.studies.canvas import COLOURS, INK, new, plain, value_axis
from uda_hydra.studies.points import Point
from uda_hydra.studies.quantities import written
from uda_hydra.studies.statistics import Estimate

MOST_KEYS = 4
"""Pairs are drawn of the most important keys only."""
WIDTH = 0.12
"""Of the kernel that smooths the pairs, in parts of the axes."""
GRID = 60
FEW = 8
"""So many values of a key are written beside its axis; of more, only the ends."""


def bars(shares: dict[str, Estimate]) -> Figure:
    """Importance of every key, most important on top; whiskers: range over random forests."""
    figure = new(7.0, 1.1 + 0.4 * len(shares))
    axes = figure.add_subplot()
    plain(axes)
    keys = [*reversed(shares)]
    means = [100 * shares[key].mean for key in keys]
    spread = [100 * shares[key].std for key in keys]
    axes.barh(keys, means, xerr=spread, color=COLOURS[0], ecolor=INK, capsize=3, height=0.6)
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of the objective's variance explained [%]")
    return figure


def slices(answer: Answer, keys: Sequence[str]) -> Figure:
    """The objective against every key, whatever the others are."""
    columns = min(len(keys), 3)
    lines = -(-len(keys) // columns)
    figure = new(3.7 * columns, 3.2 * lines)
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel()
    for axes in panels[len(keys) :]:
        axes.set_visible(False)
    for axes, key in zip(panels, keys, strict=False):
        plain(axes)
        places = [answer.points.place(key, p.params[key]) for p in answer.points.compared]
        means = [answer.mean(point).mean for point in answer.points.compared]
        axes.scatter(places, means, s=24, color=COLOURS[0], alpha=0.8)
        value_axis(axes, answer.points, key)
        if key in answer.study.reference:
            place = answer.points.place(key, answer.study.reference[key])
            axes.axvline(place, color=INK, linestyle=":", linewidth=1.2)
    for axes in panels[::columns]:
        axes.set_ylabel(answer.objective.label)
    return figure


def pairs(answer: Answer, keys: Sequence[str]) -> Figure:
    """The objective over pairs of keys: the points, on a smoothed ground where there are some."""
    couples = [*combinations(keys[:MOST_KEYS], 2)]
    columns = min(len(couples), 3)
    lines = -(-len(couples) // columns)
    figure = new(3.9 * columns + 0.8, 3.4 * lines)
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    colours = _normal(answer)
    for axes in panels[len(couples) :]:
        axes.set_visible(False)
    for axes, couple in zip(panels, couples, strict=False):
        shown = _pair(axes, answer, couple, colours)
    figure.colorbar(shown, ax=list(panels), label=answer.objective.label, shrink=0.8)
    return figure


def _pair(axes: Axes, answer: Answer, keys: tuple[str, str], colours: Normalize):
    points = answer.points.compared
    places = [[answer.points.place(key, p.params[key]) for key in keys] for p in points]
    x, y = np.asarray(places, dtype=np.float64).T
    means = np.asarray([answer.mean(point).mean for point in points])
    value_axis(axes, answer.points, keys[0])
    value_axis(axes, answer.points, keys[1], vertical=True)
    shown = axes.scatter(x, y, c=means, cmap="cividis", norm=colours, s=34, ec="white", lw=0.6)
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
    # In the axes' own measure, so that a logarithmic axis is smoothed as it is seen.
    to_axes = axes.transData + axes.transAxes.inverted()
    at = np.asarray(to_axes.transform(np.column_stack([x, y])))
    side = np.linspace(0, 1, GRID)
    ground = smooth(at, means, side)
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
    if all(key in answer.study.reference for key in keys):
        place = [answer.points.place(key, answer.study.reference[key]) for key in keys]
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


def parallel(answer: Answer, keys: Sequence[str]) -> Figure:
    """A line per point through the values of its keys to its objective, coloured by that."""
    figure = new(1.9 * (len(keys) + 1) + 1.0, 4.6)
    axes = figure.add_subplot()
    colours, ramp = _normal(answer), colormaps["cividis"]
    heights = {key: _heights(answer, key) for key in keys}
    # The best are drawn last, on top.
    for point in sorted(answer.points.compared, key=lambda p: answer.sign * answer.mean(p).mean):
        mean = answer.mean(point).mean
        places = [*(heights[key][point] for key in keys), float(colours(mean))]
        name = {answer.points.reference: "paper", answer.best: "best"}.get(point)
        axes.plot(
            places,
            "--" if name == "paper" else "-",
            color=INK if name else ramp(colours(mean)),
            linewidth=2.4 if name else 1.0,
            alpha=1.0 if name else 0.7,
            label=name,
            zorder=3 if name else 2,
        )
    for place, key in enumerate(keys):
        _write_values(axes, place, heights[key], key)
    for height, value in ((0.0, colours.vmin), (1.0, colours.vmax)):
        _write(axes, len(keys), height, answer.objective.show(value))
    axes.set_xticks(range(len(keys) + 1), [*keys, answer.objective.label], fontsize=9, rotation=12)
    axes.set_yticks([])
    axes.grid(axis="x", color="#8c959f")
    axes.spines[:].set_visible(False)
    figure.legend(loc="outside lower center", fontsize=9, ncols=2, frameon=False)
    return figure


def _heights(answer: Answer, key: str) -> dict[Point, float]:
    """Of every point on the vertical axis of a key, in 0..1."""
    measures = {p: answer.points.measure(key, p.params[key]) for p in answer.points.compared}
    low, high = min(measures.values()), max(measures.values())
    return {point: (value - low) / ((high - low) or 1.0) for point, value in measures.items()}


def _write_values(axes: Axes, place: int, heights: dict[Point, float], key: str) -> None:
    """The values of a key beside its axis: all of a few, the ends of many."""
    named = {height: written(point.params[key]) for point, height in heights.items()}
    if len(named) > FEW:
        named = {height: named[height] for height in (min(named), max(named))}
    for height, name in named.items():
        _write(axes, place, height, name)


def _write(axes: Axes, place: int, height: float, name: str) -> None:
    white = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
    axes.annotate(
        name,
        (place, height),
        (5, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
        bbox=white,
        zorder=4,
    )


def _normal(answer: Answer) -> Normalize:
    """Colours over the means of all compared points."""
    means = [answer.mean(point).mean for point in answer.points.compared]
    low, high = min(means), max(means)
    return Normalize(low, high if high > low else low + 1.0)
