"""The rows as a table for people and as JSON for programs, with what they were measured on."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import torch

from uda_hydra.benchmark.timing import Row, Setting

PACKAGES = ("torch", "torchvision", "numpy", "opencv-python", "pillow", "mlflow")
HEADINGS = ("comparison", "ours", "plain", "ratio", "quartiles", "", "demanded")


def facts(setting: Setting) -> dict[str, str]:
    """Machine, versions and setting."""
    name = torch.backends.cpu.get_cpu_capability()
    if setting.device.type == "cuda":
        name = f"{torch.cuda.get_device_name(setting.device)}, CPU {name}"
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return {
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {name}",
        "load of the last 1, 5, 15 minutes": load,
        "versions": ", ".join(
            [f"python {platform.python_version()}", *(f"{p} {_version(p)}" for p in PACKAGES)]
        ),
        "setting": f"device {setting.device}, {setting.threads} CPU threads"
        + ", QUICK: the times mean nothing" * setting.quick,
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def table(facts: dict[str, str], rows: Sequence[Row]) -> str:
    """Plain text; a line below each row says what it is about."""
    cells = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
    notes = [f"    {row.note}; {row.repetitions} repetitions" for row in rows]
    body = [part for pair in zip(lines[1:], notes, strict=True) for part in pair]
    return "\n".join([*(f"{name}: {fact}" for name, fact in facts.items()), "", lines[0], *body])


def _cells(row: Row) -> tuple[str, ...]:
    if row.plain is None or row.ratio is None:
        return row.name, _time(row.ours), "", "", "", "", row.demand
    ratio = row.ratio
    return (
        row.name,
        _time(row.ours),
        _time(row.plain),
        f"{ratio.medians:.3g}",
        f"{ratio.low:.3g} to {ratio.high:.3g}",
        row.meaning,
        row.demand,
    )


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"


def as_json(facts: dict[str, str], rows: Sequence[Row]) -> dict[str, object]:
    """The same as values that JSON can hold; times in seconds."""
    return {
        "facts": facts,
        "rows": [
            {**row._asdict(), "ratio": None if row.ratio is None else row.ratio._asdict()}
            for row in rows
        ],
    }
