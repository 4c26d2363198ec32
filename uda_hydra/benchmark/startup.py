"""How long a new process needs until its first step is done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

from uda_hydra.benchmark.setup import SMALLEST, TINY, streets_pair
from uda_hydra.benchmark.timing import Measurement, Setting, duration


def compare(setting: Setting) -> list[Measurement]:
    """From ``python`` to the end of a first CaCo step, and the parts of it."""
    scale, height = (SMALLEST, 64) if setting.quick else (TINY, 128)
    # Made once and then found by every process.
    streets_pair(setting.folder, scale, height=height)
    runs = [start(setting) for _ in range(setting.repetitions(5))]
    note = "deeplabv2_tiny on streets that are generated already, without Hydra"
    return [duration(f"start-up: {part}", [run[part] for run in runs], note) for part in runs[0]]


def start(setting: Setting) -> dict[str, float]:
    """Seconds of one such process: in all, the interpreter's own start included, and by part."""
    where = str(setting.folder), str(setting.folder / "start")
    how = str(setting.device), str(setting.threads), str(setting.quick)
    started = time.time()
    process = subprocess.run(
        [sys.executable, "-m", "uda_hydra.benchmark.first_step", *where, *how],
        env={**os.environ, "OMP_NUM_THREADS": str(setting.threads)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    parts = json.loads(process.stdout)
    return {"all": parts.pop("done at") - started} | parts
