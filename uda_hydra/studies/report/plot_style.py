"""What all figures of a report share: size, colours, text, axes and files. No screen is needed."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice, product
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullLocator,
    SymmetricalLogLocator,
)
from matplotlib.transforms import Bbox

from uda_hydra.files import printable
from uda_hydra.studies.records import Value
from uda_hydra.studies.report.metrics import key_label, shown_value
from uda_hydra.studies.report.points import StudyPoints

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""The palette of Okabe and Ito, which the colour-blind can distinguish."""
MARKS = ("o", "s", "^", "D", "v", "P")
INK, FAINT = "#24292f", "#6e7781"
DPI = 300
MOST_TICKS = 40
LABELLED, SHORT = 10, 7
"""At most so many tried values, each at most so long, are the ticks of an axis; else round ones."""
MOST_NAMES = 50
NAME = "name of a point"
"""Marks the text that ``tidy`` may move and hide."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def literal(text: str) -> str:
    """Text for matplotlib: a ``$`` never begins a formula, and control characters are escaped."""
    return printable(text).replace("$", r"\$")


def png(figure: Figure) -> bytes:
    """The figure as pixels: the same bytes for the same figure."""
    return _saved(figure, format="png", dpi=DPI, metadata={"Software": None})


def pdf(figure: Figure) -> bytes:
    """The figure as vectors with its fonts inside: the same bytes for the same figure."""
    dateless: dict[str, datetime | None] = {"CreationDate": None}
    return _saved(figure, format="pdf", metadata=dateless)


def _saved(figure: Figure, **options: Any) -> bytes:
    stream = io.BytesIO()
    # Type 42: publishers refuse matplotlib's usual Type 3 fonts.
    with rc_context({"font.family": "DejaVu Sans", "pdf.fonttype": 42}):
        figure.savefig(stream, **options)
    return stream.getvalue()


def style_axes(axes: Axes) -> None:
    """Two spines and a light grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#d8dee4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)


def set_value_axis(axes: Axes, points: StudyPoints, key: str, *, vertical: bool = False) -> None:
    """Make an axis that of a swept key: its scale, its ticks, its name and the key."""
    scale, values = points.scale(key), points.tried(key)
    axis = axes.yaxis if vertical else axes.xaxis
    (axes.set_ylabel if vertical else axes.set_xlabel)(literal(key_label(key)))
    set_scale = axes.set_yscale if vertical else axes.set_xscale
    set_limits = axes.set_ylim if vertical else axes.set_xlim
    if scale == "category":
        _name_categories(axis, values)
        set_limits(-0.5, max(len(values) - 0.5, 0.5))
        return
    places = [points.place(key, value) for value in values]
    positive = [place for place in places if place > 0] or [1.0]
    if scale == "symlog":
        set_scale("symlog", linthresh=min(positive), linscale=0.5)
        # Its own margins are a decade wide.
        set_limits(-0.2 * min(positive), 1.15 * max(positive))
    elif scale == "log":
        set_scale("log")
    names = [shown_value(value) for value in values]
    if len(values) <= LABELLED and max(map(len, names), default=0) <= SHORT:
        axis.set_ticks(places, [literal(name) for name in names])
    else:
        axis.set_major_locator(_round_ticks(scale, min(positive), max(positive)))
        axis.set_major_formatter(FuncFormatter(lambda place, _: f"{place:g}"))
    axis.set_minor_locator(NullLocator())


def _name_categories(axis: Axis, values: Sequence[Value]) -> None:
    """Names of categories as ticks; of many every second, third ... is named."""
    step = max(-(-len(values) // MOST_TICKS), 1)
    names = [literal(shown_value(value)) for value in values[::step]]
    axis.set_ticks(range(0, len(values), step), names)
    if axis.axis_name == "x" and sum(len(name) + 2 for name in names) > 60:
        axis.set_tick_params(rotation=30)


def _round_ticks(scale: str, low: float, high: float) -> Any:
    """Where the ticks of an axis lie that runs over these positive values."""
    ratio = high / low
    if scale == "symlog":
        return SymmetricalLogLocator(base=10, linthresh=low)
    if scale == "linear" or ratio < 10:
        return MaxNLocator(5, steps=[1, 2, 2.5, 5, 10])
    return LogLocator(10, subs=(1, 2, 5) if ratio < 300 else (1,))


def add_legend(axes: Axes) -> None:
    """Below the axes, where it hides no data."""
    handles, names = axes.get_legend_handles_labels()
    if handles:
        columns = 1 if max(map(len, names)) > 40 else 2
        axes.figure.legend(
            handles, names, loc="outside lower center", ncols=columns, fontsize=9, frameon=False
        )


def name_points(axes: Axes, names: Iterable[tuple[tuple[float, float], str]]) -> None:
    """Write names beside points, the important ones first: ``tidy`` hides those without room."""
    ground = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5}
    style = {"textcoords": "offset points", "fontsize": 8, "bbox": ground, "zorder": 4}
    for place, name in islice(names, MOST_NAMES):
        axes.annotate(literal(name), place, (0, 0), gid=NAME, **style)


def tidy(figure: Figure) -> None:
    """Move or hide the labels that cover others. The figure is laid out, and not changed later."""
    figure.draw_without_rendering()
    # The layout takes longer than the drawing, and would be found again for every file.
    figure.set_layout_engine("none")
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            _thin(axis)
        _spread([text for text in axes.texts if text.get_gid() == NAME], axes)


def _thin(axis: Axis) -> None:
    """Hide the labels of ticks that lie too close to the one before."""
    side, gap = (0, 4) if axis.axis_name == "x" else (1, 0)
    labels = [tick.label1 for tick in axis.get_major_ticks()]
    level = [label for label in labels if label.get_text() and not label.get_rotation()]
    ends = {label: label.get_window_extent().get_points()[:, side] for label in level}
    reached = -math.inf
    for label, (first, last) in sorted(ends.items(), key=lambda item: item[1][0]):
        if first < reached:
            label.set_visible(False)
        else:
            reached = last + gap


def _spread(texts: Sequence[Any], axes: Axes) -> None:
    """Write every name on a side of its point where it covers nothing, else not at all."""
    points = [axes.transData.transform(text.xy) for text in texts]
    taken = [Bbox.from_bounds(x - 3, y - 3, 6, 6) for x, y in points]
    room = axes.get_window_extent()
    for text in texts:
        for (ha, x), (va, y) in product(
            (("right", -5), ("left", 5), ("center", 0)),
            (("bottom", 4), ("center", 0), ("top", -4)),
        ):
            text.set(ha=ha, va=va, position=(x, y))
            box = text.get_window_extent()
            inside = room.x0 <= box.x0 and box.x1 <= room.x1
            if (x or y) and inside and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
        else:
            text.set_visible(False)
