"""A confusion matrix as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64, Int64

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SMALLEST = 0.5
"""Percent below which a cell's number is noise to the eye and is left out."""
MOST_WRITTEN = 30
"""Classes up to which the cells hold numbers."""
CELL, SMALLEST_CELL, WIDEST = 0.42, 0.08, 12.0
"""Inches: side of a cell, the least that a class's name can be read at, and of the whole matrix
where that allows it."""


def draw_confusion(
    confusion: Int64[np.ndarray, "k k"], classes: tuple[str, ...], *, title: str
) -> Figure:
    """Rows are the truth, in percent of its pixels; a class without pixels is left grey.

    Up to ``MOST_WRITTEN`` classes the cells hold numbers.
    """
    # Matplotlib takes half a second to import, and only a run with pictures needs it.
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    truth = confusion.sum(axis=1, keepdims=True)
    percent = np.where(truth > 0, 100 * confusion / np.maximum(truth, 1), np.nan)
    cell = max(SMALLEST_CELL, min(CELL, WIDEST / len(classes)))
    size = max(5.0, 2.2 + cell * len(classes))
    figure = Figure(figsize=(size + 0.4, size), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_facecolor("0.92")
    # The square root spreads the small shares, where the confusions are.
    image = axes.imshow(np.sqrt(percent / 100), cmap=colormaps["GnBu"], vmin=0, vmax=1)
    if len(classes) <= MOST_WRITTEN:
        _write_cells(axes, percent)
    positions = range(len(classes))
    axes.set_xticks(positions, classes, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(positions, classes)
    axes.set_xticks(np.arange(len(classes) - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(classes) - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.2 * cell / CELL)
    axes.tick_params(which="both", length=0, labelsize=min(8.5, 60 * cell))
    axes.spines[:].set_visible(False)
    axes.set_xlabel("prediction")
    axes.set_ylabel("truth")
    axes.set_title(f"{title}: percent of the truth's pixels", fontsize=10.5, pad=10)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=30, pad=0.015)
    bar.set_ticks(np.sqrt([0, 0.05, 0.25, 0.5, 1]), labels=["0", "5", "25", "50", "100 %"])
    bar.ax.tick_params(length=0, labelsize=8)
    bar.outline.set_visible(False)
    return figure


def _write_cells(axes: Axes, percent: Float64[np.ndarray, "k k"]) -> None:
    for (row, column), value in np.ndenumerate(percent):
        if value >= SMALLEST:
            axes.text(
                column,
                row,
                f"{value:.0f}",
                ha="center",
                va="center",
                fontsize=7.5,
                fontweight="bold" if row == column else "normal",
                color="white" if value > 45 else "0.15",
            )
