"""What a finished run says on the terminal."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from statistics import mean, stdev
from typing import Any

Result = dict[str, Any]

PAGE = "http://127.0.0.1:5000/#/experiments?workflowType=machine_learning"
"""Without the word at its end MLflow opens its pages for language models."""


def summary(result: Result) -> str:
    """Per-class IoU and the means of one training."""
    return "\n".join([*_table({"IoU %": result}), *_notes(result)])


def comparison(results: dict[str, Result]) -> str:
    """Per-class IoU of the first and the last stage side by side, and the gain."""
    (first, before), *_, (last, after) = results.items()
    gain = 100 * (after["miou/last"] - before["miou/last"])
    return "\n".join(
        [
            *_table({first: before, last: after}),
            f"mIoU gain of {last} over {first}: {gain:+.2f} points",
            *_notes(after),
        ]
    )


def _table(columns: dict[str, Result]) -> list[str]:
    width = max(10, *(len(name) + 2 for name in columns))
    header = " " * 16 + "".join(f"{name:>{width}}" for name in columns)
    keys = [key for key in next(iter(columns.values())) if key.startswith("iou/")]
    keys += ["miou/last"]
    rows = []
    for key in keys:
        values = [result[key] for result in columns.values()]
        cells = "".join(f"{_percent(value):>{width}}" for value in values)
        change = f"{100 * (values[-1] - values[0]):>+10.2f}" if len(values) > 1 else ""
        label = "mIoU" if key == "miou/last" else key.removeprefix("iou/")
        rows.append(f"{label:<16}{cells}{change.replace('+nan', '    ')}")
    return [header, *rows[:-1], "-" * len(header), rows[-1]]


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
