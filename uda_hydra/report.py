"""What a finished run says on the terminal."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from uda_hydra.published import Row

Result = dict[str, Any]

PAGE = "http://127.0.0.1:5000/#/experiments?workflowType=machine_learning"
"""Without the word at its end MLflow opens its pages for language models."""


def summary(result: Result, rows: Sequence[Row] = ()) -> str:
    """Per-class IoU and the means of one training, and published rows beside them."""
    return "\n".join([*_table({"IoU %": result}, rows), *_notes(result), *_legend(rows)])


def comparison(results: dict[str, Result], rows: Sequence[Row] = ()) -> str:
    """Per-class IoU of all stages side by side, the gains, and published rows beside them."""
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
    gain = 100 * (after["miou/last"] - before["miou/last"])
    return f"mIoU gain of {name} over {other}: {gain:+.2f} points"


def _table(columns: dict[str, Result], rows: Sequence[Row]) -> list[str]:
    """A line per class and the means below, ours and the published rows that tell classes.

    Two of ours are followed by their difference.
    """
    ours = [*columns.values()]
    names = {key: key.removeprefix("iou/") for key in ours[0] if key.startswith("iou/")}
    means = {"miou/last": "mean"} | ({"miou_13": "mean*"} if "miou_13" in ours[0] else {})
    beside = [row.column([*names.values()]) for row in rows if row.iou]
    heads = [*columns, *([""] if len(ours) == 2 else []), *_numbers(rows)]
    widths = [max(10, len(head) + 2) for head in heads]

    def aligned(cells: list[str]) -> str:
        return "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))

    def line(label: str, key: str, name: str) -> str:
        values = [result[key] for result in ours]
        cells = [_percent(value) for value in values]
        if len(values) == 2:
            cells.append(f"{100 * (values[1] - values[0]):+.2f}".replace("+nan", ""))
        cells += [_percent(column.get(name)) for column in beside]
        return f"{label:<16}{aligned(cells)}"

    return [
        header := " " * 16 + aligned(heads),
        *(line(name, key, name) for key, name in names.items()),
        "-" * len(header),
        *(line(name.replace("mean", "mIoU"), key, name) for key, name in means.items()),
    ]


def _numbers(rows: Sequence[Row]) -> list[str]:
    """How the published rows that tell classes are headed."""
    return [f"[{number + 1}]" for number in range(sum(bool(row.iou) for row in rows))]


def _legend(rows: Sequence[Row]) -> list[str]:
    """What the numbered columns are, and the published rows that tell the means alone."""
    if not rows:
        return []
    lines = [f"published on {rows[0].pair}:"]
    numbers = iter(_numbers(rows))
    for row in rows:
        starred = "" if row.miou_13 is None else f"mIoU* {row.miou_13:.2f}, "
        means = ("" if row.miou is None else f"mIoU {row.miou:.2f}, ") + starred
        lines.append(f"{next(numbers) if row.iou else '':>6} {means}{row.note()}")
    return lines


def _notes(result: Result) -> list[str]:
    notes = [
        f"best of all evaluations {100 * result['miou/best']:.2f} at step "
        f"{result['miou/best_step']} (selected on target labels)"
    ]
    if "oracle" in result:
        notes.append(f"oracle: {result['oracle']}")
    return notes


def _percent(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{100 * value:.2f}"


def browse(folder: Path, uri: str | None) -> str:
    """Where the run is, and the command that shows it."""
    lines = [f"run: {folder} (result.json, pictures/, train.log in each stage's folder)"]
    if uri:
        lines.append(f"browse: mlflow ui --workers 1 --backend-store-uri {uri}   (or: make ui)")
        lines.append(f"        and open {PAGE}")
    return "\n".join(lines)


def spread(folders: list[Path]) -> str:
    """First and last stage of several runs of one kind: each run, then mean and spread.

    The spread is the standard deviation of a sample (divisor n - 1).
    """
    rows = [f"{'run':<40}{'first':>8}{'last':>8}{'gain':>8}"]
    columns = []
    for folder in folders:
        stages = sorted(folder.glob("*/result.json"), key=lambda path: path.stat().st_mtime)
        stages = [path for path in stages if ".before-" not in path.parent.name]
        if len(stages) < 2:
            raise SystemExit(f"{folder} holds no finished run of several stages")
        first, last = (
            100 * json.loads(path.read_text())["miou/last"] for path in (stages[0], stages[-1])
        )
        columns.append((first, last, last - first))
        rows.append(f"{folder.name:<40}{first:8.2f}{last:8.2f}{last - first:+8.2f}")
    for name, reduce in (("mean", mean), ("spread", stdev)):
        if len(columns) > 1:
            rows.append(
                f"{name:<40}" + "".join(f"{reduce(c):8.2f}" for c in zip(*columns, strict=True))
            )
    return "\n".join(rows)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python -m uda_hydra.report RUN [RUN ...]   (folders of finished runs)")
    print(spread([Path(name) for name in sys.argv[1:]]))
