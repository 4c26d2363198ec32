"""The outcome of a finished run, as text for the terminal."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uda_hydra.engine.scores import MEAN, heading, subset_metrics
from uda_hydra.files import mask, printable
from uda_hydra.published import Row
from uda_hydra.tracking.uri import is_database, is_server
from uda_hydra.tracking.view import LOCAL

Result = dict[str, Any]

PAGE = f"{LOCAL}/#/experiments?workflowType=machine_learning"
"""Without the word at its end MLflow opens its pages for language models."""
BROWSER = "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui --workers 1"
"""As in the Makefile: 2 processes, where MLflow would start 14."""
USUAL = "sqlite:///outputs/mlflow.db"
"""The store that ``make ui`` shows."""


def summary(result: Result, rows: Sequence[Row] = ()) -> str:
    """Per-class IoU and the means of one training, and published rows next to them."""
    return "\n".join([*_table({"IoU %": result}, rows), *_notes(result), *_legend(rows)])


def comparison(results: dict[str, Result], rows: Sequence[Row] = ()) -> str:
    """Per-class IoU of all stages side by side, the gains, and published rows next to them."""
    (first, before), *later = results.items()
    gains = [_gain(name, after, first, before) for name, after in later]
    # What the last one brings beyond its controls, which begin where it begins.
    gains += [_gain(*later[-1], *control) for control in later[:-1]]
    return "\n".join(
        [
            *_table(results, rows),
            *gains,
            *_notes([*results.values()][-1]),
            *_legend(rows),
        ]
    )


def _gain(name: str, after: Result, other: str, before: Result) -> str:
    """A line with the difference of two mIoUs."""
    gain = 100 * (after[MEAN] - before[MEAN])
    return f"mIoU gain of {name} over {other}: {gain:+.2f} points"


def _table(columns: dict[str, Result], rows: Sequence[Row]) -> list[str]:
    """A line per class and the means below, ours and the published rows that report classes.

    Two of ours are followed by their difference.
    """
    ours = [*columns.values()]
    classes = {key: key.removeprefix("iou/") for key in ours[0] if key.startswith("iou/")}
    means = {MEAN: "miou"} | {metric: metric for metric in subset_metrics(ours[0])}
    extra = [row.column() for row in rows if row.iou]
    heads = [*columns, *([""] if len(ours) == 2 else []), *_numbers(rows)]
    widths = [max(10, len(head) + 2) for head in heads]
    first = max(16, *(len(name) + 1 for name in classes.values()))

    def aligned(cells: list[str]) -> str:
        return "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))

    def line(label: str, key: str, name: str) -> str:
        values = [result.get(key) for result in ours]
        cells = [_percent(value) for value in values]
        if len(values) == 2:
            cells.append("" if None in values else f"{100 * (values[1] - values[0]):+.2f}")
        cells += [_percent(column.get(name)) for column in extra]
        return f"{label:<{first}}{aligned(cells)}"

    return [
        header := " " * first + aligned(heads),
        *(line(name, key, name) for key, name in classes.items()),
        "-" * len(header),
        *(line(heading(metric), key, metric) for key, metric in means.items()),
    ]


def _numbers(rows: Sequence[Row]) -> list[str]:
    """Headings of the published rows that report classes."""
    return [f"[{number + 1}]" for number in range(sum(bool(row.iou) for row in rows))]


def _legend(rows: Sequence[Row]) -> list[str]:
    """What the numbered columns are, and the published rows that report means alone."""
    if not rows:
        return []
    lines = [f"published on {rows[0].pair}:"]
    numbers = iter(_numbers(rows))
    for row in rows:
        means = "".join(f"{heading(metric)} {v:.2f}, " for metric, v in row.scores.items())
        lines.append(f"{next(numbers) if row.iou else '':>6} {means}{row.note()}")
    return lines


def _notes(result: Result) -> list[str]:
    notes = [
        f"best of all evaluations {100 * result['miou/best']:.2f} at step "
        f"{result['miou/best_step']} (selected on target labels)"
    ]
    # Results of earlier versions do not say.
    if absent := result.get("classes_absent"):
        notes.append(f"{result['classes_scored']} classes scored; absent: {', '.join(absent)}")
    if terms := result.get("zero_terms"):
        notes.append(f"0 in every step, and so without effect: {', '.join(terms)}")
    if "oracle" in result:
        notes.append(f"oracle: {result['oracle']}")
    return notes


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"


def browse(folder: Path, uri: str | None) -> str:
    """The folder of the run, and the server's address or the command that shows it in a browser."""
    files = "result.json, pictures/, train.log in each stage's folder"
    lines = [f"run: {printable(str(folder))} ({files})"]
    if uri and is_server(uri):
        lines.append(f"browse: {mask(uri)}")
    elif uri and is_database(uri):
        store = shlex.quote(mask(uri))
        remark = "   (or: make ui)" if uri == USUAL else ""
        if mask(uri) != uri:
            remark = "   (with the password in place of ***)"
        lines.append(f"browse: {BROWSER} --backend-store-uri {store}{remark}")
        lines.append(f"        and open {PAGE}")
    elif uri:
        lines.append(f"browse: the pages of tracking.uri={mask(uri)}")
    return "\n".join(lines)
