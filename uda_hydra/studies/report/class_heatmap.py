"""IoU of every class over the swept values, and its change from the reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from uda_hydra.studies.report.analyse import StudyAnalysis
from uda_hydra.studies.report.metrics import SUBSET, Metric, key_label
from uda_hydra.studies.report.plot_style import INK, literal, new_figure
from uda_hydra.studies.report.points import PointResults

ROW_HEIGHT, MOST_HEIGHT = 0.25, 24.0
"""Inches of a row, and of all rows: more than 96 are drawn narrower."""
SMALLEST_FONT = 5.0
"""In points. Where rows are narrower than this only some of them are named."""
MOST_NUMBERED = 12
"""With more columns the cells have no room for numbers."""
Table = Float64[np.ndarray, "rows columns"]


def rows(analysis: StudyAnalysis) -> list[str]:
    """Keys of the heat map: every class, then mIoU and the mIoU of every subset of classes."""
    known = dict.fromkeys(key for trial in analysis.complete for key in trial.result)
    means = [key for key in known if key == "miou/last" or key.startswith(SUBSET)]
    return [*(f"iou/{name}" for name in analysis.classes), *means]


def draw(analysis: StudyAnalysis, points: Sequence[PointResults], names: Sequence[str]) -> Figure:
    """A row per class and a column per point: means over seeds, and changes where known."""
    keys, reference = rows(analysis), analysis.points.reference
    height = min(ROW_HEIGHT * len(keys), MOST_HEIGHT)
    panels_wide = 2 if reference else 1
    figure = new_figure(panels_wide * (2.0 + max(0.46 * len(points), 1.6)), 1.5 + height)
    panels = figure.subplots(1, panels_wide, sharey=True, squeeze=False)[0]
    means = [[analysis.points.mean(point, key).mean for point in points] for key in keys]
    _draw_panel(panels[0], _table(means), names, "IoU [%]", "cividis", (0.0, 100.0))
    if reference:
        changes = _table([[_change(analysis, point, key) for point in points] for key in keys])
        size = max(float(np.nanmax(np.abs(changes), initial=0.0)), 1e-6)
        _draw_panel(panels[1], changes, names, "minus reference [points]", "RdBu", (-size, size))
    _name_rows(panels[0], keys, height)
    for axes in panels:
        axes.set_xlabel(literal(key_label(analysis.points.axis or "")), fontsize=9)
        axes.axhline(len(analysis.classes) - 0.5, color=INK, linewidth=1.5)
        _mark_reference(axes, analysis, points, len(keys))
    return figure


def _table(values: list[list[float]]) -> Table:
    return np.asarray(values, dtype=np.float64)


def _change(analysis: StudyAnalysis, point: PointResults, key: str) -> float:
    """The change paired over seeds; nan for a point that is not compared."""
    if not analysis.points.is_compared(point):
        return float("nan")
    return analysis.against_reference(point, key).mean


def _name_rows(axes: Axes, keys: Sequence[str], height: float) -> None:
    """Names of the rows, in letters that fit; every second, third ... row where none do."""
    points_per_row = 72 * height / len(keys)
    step = int(np.ceil(SMALLEST_FONT / points_per_row))
    size = float(np.clip(points_per_row * step * 0.85, SMALLEST_FONT, 9))
    named = range(0, len(keys), step)
    axes.set_yticks(named, [literal(Metric(keys[row]).name) for row in named], fontsize=size)


def _draw_panel(
    axes: Axes,
    table: Table,
    names: Sequence[str],
    title: str,
    colours: str,
    limits: tuple[float, float],
) -> None:
    low, high = limits
    image = axes.imshow(table, cmap=colours, vmin=low, vmax=high, aspect="auto")
    axes.figure.colorbar(image, ax=axes, shrink=0.6, pad=0.02).ax.tick_params(labelsize=8)
    axes.set_title(title, fontsize=10)
    axes.set_xticks(range(len(names)), map(literal, names), fontsize=8, rotation=45, ha="right")
    axes.tick_params(length=0)
    if len(names) <= MOST_NUMBERED and len(table) * ROW_HEIGHT <= MOST_HEIGHT:
        _write_numbers(axes, table, colours, limits)


def _write_numbers(axes: Axes, table: Table, colours: str, limits: tuple[float, float]) -> None:
    low, high = limits
    sign = "+" if low < 0 else ""
    for (row, column), value in np.ndenumerate(table):
        if np.isfinite(value):
            red, green, blue, _ = colormaps[colours]((value - low) / (high - low))
            light = 0.3 * red + 0.59 * green + 0.11 * blue > 0.5
            axes.text(
                column,
                row,
                f"{round(value, 1) + 0.0:{sign}.1f}",
                ha="center",
                va="center",
                fontsize=7,
                color="black" if light else "white",
            )


def _mark_reference(
    axes: Axes, analysis: StudyAnalysis, points: Sequence[PointResults], height: int
) -> None:
    """A frame around the column of the reference."""
    for column, point in enumerate(points):
        if point is analysis.points.reference:
            corner = column - 0.5, -0.5
            frame = Rectangle(corner, 1, height, fill=False, ec=INK, lw=1.8, clip_on=False)
            axes.add_patch(frame)
