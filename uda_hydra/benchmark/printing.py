"""The rows as a table for people and as JSON for programs, with what they were measured on."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import torch

from uda_hydra.benchmark.timing import Measurement, Setting

PACKAGES = ("torch", "torchvision", "numpy", "opencv-python", "pillow", "mlflow")
HEADINGS = ("comparison", "ours", "plain", "ratio", "quartiles", "", "target")
LINE = "{:28} {:>8} {:>8} {:>7}  {:16} {:13} {}"


def facts(setting: Setting) -> dict[str, str]:
    """Facts about machine, versions and setting."""
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


def heading(facts: dict[str, str]) -> str:
    """The text above the rows."""
    known = [f"{name}: {fact}" for name, fact in facts.items()]
    return "\n".join([*known, "", LINE.format(*HEADINGS)])


def line(row: Measurement) -> str:
    """One comparison, and below it its sizes and remarks."""
    plain = ratio = quartiles = ""
    if row.plain is not None and row.ratio is not None:
        plain, ratio = _time(row.plain), f"{row.ratio.medians:.3g}"
        quartiles = f"{row.ratio.low:.3g} to {row.ratio.high:.3g}"
    cells = row.name, _time(row.ours), plain, ratio, quartiles, row.meaning, row.demand
    about = f"    {row.repetitions} repetitions; {row.note}"
    return f"{LINE.format(*cells).rstrip()}\n{about}"


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"


def as_json(facts: dict[str, str], rows: Sequence[Measurement]) -> dict[str, object]:
    """The same as values that JSON can hold; times in seconds."""
    return {
        "facts": facts,
        "rows": [
            {**row._asdict(), "ratio": None if row.ratio is None else row.ratio._asdict()}
            for row in rows
        ],
    }
