"""What all figures of a report share: size, colours, text and axes. No screen is needed."""

from __future__ import annotations

import io
from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from uda_hydra.files import printable
from uda_hydra.studies.records import Value
from uda_hydra.studies.report.metrics import shown_value
from uda_hydra.studies.report.points import StudyPoints

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""The palette of Okabe and Ito, which the colour-blind can distinguish."""
MARKS = ("o", "s", "^", "D", "v", "P")
INK, FAINT = "#24292f", "#6e7781"
MOST_TICKS = 40
LABELLED = 10
"""Up to this many tried values are the ticks of an axis; with more it has round numbers."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def literal(text: str) -> str:
    """Text for matplotlib: a ``$`` never begins a formula, and control characters are escaped."""
    return printable(text).replace("$", r"\$")


def png(figure: Figure) -> bytes:
    """The figure as a file: the same bytes for the same figure."""
    stream = io.BytesIO()
    with rc_context({"font.family": "DejaVu Sans"}):
        figure.savefig(stream, format="png", dpi=150, metadata={"Software": None})
    return stream.getvalue()


def style_axes(axes: Axes) -> None:
    """Two spines and a light grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#d8dee4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)


def set_value_axis(axes: Axes, points: StudyPoints, key: str, *, vertical: bool = False) -> None:
    """Make an axis that of a swept key: its scale, its tried values as ticks, its name."""
    values: list[Value] = [*points.tried(key)]
    scale = points.scale(key)
    axis = axes.yaxis if vertical else axes.xaxis
    (axes.set_ylabel if vertical else axes.set_xlabel)(literal(key))
    set_scale = axes.set_yscale if vertical else axes.set_xscale
    set_limits = axes.set_ylim if vertical else axes.set_xlim
    if scale == "symlog":
        positive = [points.place(key, v) for v in values if points.place(key, v) > 0] or [1.0]
        set_scale("symlog", linthresh=min(positive), linscale=0.5)
        # Its own margins are a decade wide.
        set_limits(-0.2 * min(positive), 1.15 * max(positive))
    elif scale == "log":
        set_scale("log")
    if len(values) > LABELLED and scale != "category":
        return
    places = [points.place(key, value) for value in values]
    # Of many categories every second, third ... is named.
    step = -(-len(values) // MOST_TICKS)
    axis.set_ticks(places[::step], [literal(shown_value(value)) for value in values[::step]])
    axis.set_minor_locator(NullLocator())
    if not vertical and (len(values) > 7 or _long(values)):
        axes.tick_params(axis="x", rotation=30)
    if scale == "category":
        set_limits(-0.5, max(places, default=0) + 0.5)


def add_legend(axes: Axes) -> None:
    """Below the axes, where it hides no data."""
    handles, names = axes.get_legend_handles_labels()
    if handles:
        columns = 1 if max(map(len, names)) > 40 else 2
        axes.figure.legend(
            handles, names, loc="outside lower center", ncols=columns, fontsize=9, frameon=False
        )


def _long(values: Sequence[Value]) -> bool:
    return sum(len(shown_value(value)) + 2 for value in values) > 60
