"""Which classes pay: their IoU over the swept value, and its change against the paper's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from uda_hydra.studies.answer import Answer
from uda_hydra.studies.canvas import INK, new
from uda_hydra.studies.points import Point
from uda_hydra.studies.quantities import Quantity

NUMBERED = 12
"""With more columns the cells have no room for numbers."""


def rows(answer: Answer) -> list[str]:
    """Keys of the heat map: every class, then the means that the results have."""
    known = {key for trial in answer.complete for key in trial.result}
    means = [key for key in ("miou/last", "miou_13") if key in known]
    return [*(f"iou/{name}" for name in answer.classes), *means]


def classes(answer: Answer, points: Sequence[Point], names: Sequence[str]) -> Figure:
    """A row per class and a column per point: means over seeds, and changes where known."""
    keys = rows(answer)
    table = np.asarray([[answer.points.mean(p, key).mean for p in points] for key in keys])
    table = table.astype(np.float64).reshape(len(keys), len(points))
    reference = answer.points.reference
    width = 2.0 + max(0.46 * len(points), 1.6)
    figure = new(width * (2 if reference else 1), 1.5 + 0.25 * len(keys))
    panels = figure.subplots(1, 2 if reference else 1, sharey=True, squeeze=False)[0]
    _panel(panels[0], table, names, "IoU [%]", "cividis", (0.0, 100.0))
    if reference:
        # Paired over seeds; a point that is not compared has no change.
        change = [
            [
                answer.against_reference(p, key).mean if p in answer.points.compared else np.nan
                for p in points
            ]
            for key in keys
        ]
        changes = np.asarray(change, dtype=np.float64)
        size = max(float(np.nanmax(np.abs(changes), initial=0.0)), 1e-6)
        _panel(panels[1], changes, names, "change [points]", "RdBu", (-size, size))
    labels = [Quantity(key).name for key in keys]
    panels[0].set_yticks(range(len(keys)), labels, fontsize=9)
    for axes in panels:
        axes.set_xlabel(answer.points.axis or "", fontsize=9)
        axes.axhline(len(answer.classes) - 0.5, color=INK, linewidth=1.5)
        _mark_reference(axes, answer, points)
    return figure


def _panel(
    axes: Axes,
    table: Float64[np.ndarray, "rows columns"],
    names: Sequence[str],
    title: str,
    colours: str,
    limits: tuple[float, float],
) -> None:
    low, high = limits
    image = axes.imshow(table, cmap=colours, vmin=low, vmax=high, aspect="auto")
    axes.figure.colorbar(image, ax=axes, shrink=0.6, pad=0.02).ax.tick_params(labelsize=8)
    axes.set_title(title, fontsize=10)
    axes.set_xticks(range(len(names)), names, fontsize=8, rotation=45, ha="right")
    axes.tick_params(length=0)
    if len(names) > NUMBERED:
        return
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


def _mark_reference(axes: Axes, answer: Answer, points: Sequence[Point]) -> None:
    """A frame around the paper's column."""
    for column, point in enumerate(points):
        if point is answer.points.reference:
            size = 1, len(rows(answer))
            axes.add_patch(
                Rectangle((column - 0.5, -0.5), *size, fill=False, ec=INK, lw=1.8, clip_on=False)
            )
