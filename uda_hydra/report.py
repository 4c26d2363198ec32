"""What a finished run says on the terminal."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

Result = dict[str, Any]


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
    return "\n".join(lines)
