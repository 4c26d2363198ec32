"""What a trial costs besides its training: our sweeper and plain hydra-optuna-sweeper."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from uda_hydra.benchmark.timing import Disagreement, Measurement, Setting, Times, duration, overhead

COMMON = (
    "method=source_only",
    "loss.lambda_seg=tag(log,interval(0.01,1))",
    "hydra/sweeper/sampler=random",
)
OURS = ("hydra.sweeper.sampler.seed=0",)
PLAIN = (
    "hydra/sweeper=optuna",
    "tracking=none",
    "hydra.sweeper.storage='sqlite:///plain.db'",
    "hydra.sweeper.study_name=plain",
    "hydra.sweeper.direction=maximize",
    "hydra.sweeper.n_jobs=1",
)
PART = 100
"""Trials that one sweeper runs before the other takes its turn."""


def compare(setting: Setting) -> list[Measurement]:
    """The first and the last trials of a long study, and those of one that is tracked."""
    part = 3 if setting.quick else PART
    parts = 2 if setting.quick else 10 if setting.full else 3
    times: list[Times] = []
    for done in range(parts):
        # Our n_trials is the total; the plain sweeper runs as many again whenever it is resumed.
        ours = run(setting, "ours", part, *OURS, "tracking=none", total=(done + 1) * part)
        times.append(Times(ours, run(setting, "plain", part, *PLAIN, total=part)))
    tracked = run(setting, "tracked", part, *OURS, total=part)
    note = f"of {part * parts} of a random sampler, sqlite; seconds from one trial to the next"
    return [
        overhead(f"sweep: the first {part} trials", times[0], "ours < 1 s", note),
        overhead(f"sweep: the last {part} trials", times[-1], "ours < 1 s", note),
        duration("sweep: a tracked trial", tracked, "ours, with a run in MLflow (sqlite)"),
    ]


def run(setting: Setting, name: str, part: int, *overrides: str, total: int) -> list[float]:
    """Seconds from each trial of a sweep to the next, of the ``part`` trials that it does now."""
    folder = setting.folder / f"sweep_{name}"
    folder.mkdir(exist_ok=True)
    times = folder / "times.txt"
    times.unlink(missing_ok=True)
    package = str(Path(__file__).parents[2])
    more = {"UDA_HYDRA_TIMES": str(times), "OMP_NUM_THREADS": str(setting.threads)}
    command = [sys.executable, "-m", "uda_hydra.benchmark.trivial", "-m", *COMMON, *overrides]
    done = subprocess.run(
        [*command, f"hydra.sweeper.n_trials={total}"],
        cwd=folder,
        env=os.environ | more | {"PYTHONPATH": package},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Disagreement(f"{name} failed: {done.stderr.strip().rpartition(chr(10))[2]}")
    starts = [float(line) for line in times.read_text().splitlines()]
    if len(starts) != part:
        raise Disagreement(f"{name} ran {len(starts)} of {part} trials")
    return np.diff(starts).tolist()
