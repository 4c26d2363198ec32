"""Target mIoU over the steps of every row: mean and spread over the seeds."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from uda_hydra.engine.scores import MEAN
from uda_hydra.files import write_atomically, write_text
from uda_hydra.studies.report.metrics import Metric
from uda_hydra.studies.report.plot_style import (
    COLOURS,
    MARKS,
    add_legend,
    literal,
    new_figure,
    png,
    style_axes,
)
from uda_hydra.studies.report.statistics import Estimate, estimate
from uda_hydra.studies.report.tables import as_csv
from uda_hydra.studies.report.trainings import evaluations
from uda_hydra.table.analyse import TableAnalysis
from uda_hydra.table.rows import Row

Curve = dict[int, Estimate]
"""By step: mIoU in percent over the seeds that were scored there."""
LINES = ("-", "--", ":")
"""One for each round through the colours."""


def curve(row: Row) -> Curve:
    """A row's curve, as far as the evaluations of its trainings were logged."""
    values: dict[int, list[float]] = {}
    for training in row.trainings.values():
        for step in evaluations(training.folder, MEAN):
            values.setdefault(step.step, []).append(100 * step.values[MEAN])
    return {step: estimate(found) for step, found in sorted(values.items())}


def write(folder: Path, analysis: TableAnalysis) -> None:
    """Write ``curves.png`` and ``curves.csv``, if any evaluation was logged."""
    found = {row.name: curve(row) for row in analysis.rows}
    lines = [
        [name, str(step), f"{one.mean:.6g}", f"{one.std:.6g}" if one.n > 1 else "-", str(one.n)]
        for name, own in found.items()
        for step, one in own.items()
    ]
    if not lines:
        return
    head = ["training", "step", "miou", "miou_spread", "seeds"]
    write_text(folder / "curves.csv", as_csv([head, *lines]))
    image = png(draw({name: own for name, own in found.items() if own}))
    write_atomically(folder / "curves.png", lambda path: path.write_bytes(image))


def draw(curves: dict[str, Curve]) -> Figure:
    """A line per row over its share of steps, however long; the band is a standard deviation."""
    figure = new_figure(7.6, 5.6)
    axes = figure.add_subplot()
    style_axes(axes)
    for number, (name, own) in enumerate(curves.items()):
        rounds = number // len(COLOURS)
        colour, line = COLOURS[number % len(COLOURS)], LINES[rounds % len(LINES)]
        # Rows that share colour and line differ in the mark.
        mark = MARKS[(number + rounds // len(LINES)) % len(MARKS)]
        steps = max(own) or 1
        means, shares = [one.mean for one in own.values()], [100 * s / steps for s in own]
        style = {"color": colour, "linestyle": line, "marker": mark}
        axes.plot(shares, means, label=literal(name), markersize=4, **style)
        spreads = [one.std if one.n > 1 else 0.0 for one in own.values()]
        low, high = ([m + s * d for m, d in zip(means, spreads, strict=True)] for s in (-1, 1))
        axes.fill_between(shares, low, high, color=colour, alpha=0.08, linewidth=0)
    axes.set_xlabel("share of the training's steps [%]")
    axes.set_ylabel(Metric(MEAN).label)
    add_legend(axes)
    return figure
