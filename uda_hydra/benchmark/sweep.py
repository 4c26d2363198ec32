"""What a trial costs besides its training: our sweeper beside plain hydra-optuna-sweeper."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from uda_hydra.benchmark.timing import Disagreement, Row, Setting, Times, duration, overhead

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
EDGE = 100
"""Trials at the beginning and at the end of a study that are compared."""


def compare(setting: Setting) -> list[Row]:
    """The first and the last trials of a long study, and those of one that is tracked."""
    trials = 4 if setting.quick else 1000 if setting.full else 300
    ours = run(setting, "ours", trials, *OURS, "tracking=none")
    plain = run(setting, "plain", trials, *PLAIN)
    tracked = run(setting, "tracked", min(trials, 3 * EDGE), *OURS)
    edge = min(EDGE, trials // 2)
    note = f"{trials} trials of a random sampler, sqlite; seconds from one trial to the next"
    ends = {"first": slice(None, edge), "last": slice(-edge, None)}
    return [
        *(
            overhead(f"sweep: {name} {edge} trials", Times(ours[s], plain[s]), "ours < 1 s", note)
            for name, s in ends.items()
        ),
        duration("sweep: a tracked trial", tracked, "ours, with a run in MLflow (sqlite)"),
    ]


def run(setting: Setting, name: str, trials: int, *overrides: str) -> list[float]:
    """Seconds from each trial of a sweep to the next."""
    folder = setting.folder / f"sweep_{name}"
    folder.mkdir(exist_ok=True)
    times = folder / "times.txt"
    package = str(Path(__file__).parents[2])
    more = {"UDA_HYDRA_TIMES": str(times), "OMP_NUM_THREADS": str(setting.threads)}
    command = [sys.executable, "-m", "uda_hydra.benchmark.trivial", "-m", *COMMON, *overrides]
    subprocess.run(
        [*command, f"hydra.sweeper.n_trials={trials}"],
        cwd=folder,
        env=os.environ | more | {"PYTHONPATH": package},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    begun = [float(line) for line in times.read_text().splitlines()]
    if len(begun) != trials:
        raise Disagreement(f"{name} ran {len(begun)} of {trials} trials")
    return np.diff(begun).tolist()
