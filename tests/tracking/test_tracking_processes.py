"""Tracking by processes of their own: born together, killed at any moment."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.slow

STEPS = 400
TRAINING = """
import sys, time
from pathlib import Path
from uda_hydra.tracking import mlflow as tracking
from uda_hydra.engine.events import Run

tracking.PERIOD, tracking.PATIENCE = 0.05, 60.0
uri, artifacts, folder, steps, experiment = sys.argv[1:]
folder, steps = Path(folder), int(steps)
saved = folder / "saved"
start = int(saved.read_text()) if saved.exists() else 0
callback = tracking.Tracking(uri, experiment, artifacts=Path(artifacts))
callback.on_start(Run(folder.name, folder, steps, start, {"seed": 0}))
while steps > 1 and not (folder / "mlflow.json").exists():
    time.sleep(0.01)
print("training", flush=True)
for step in range(start + 1, steps + 1):
    callback.on_log(step, {"loss/seg": 1 / step, "lr/backbone": 0.1})
    time.sleep(0.01)
    if step % 10 == 0:
        saved.with_suffix(".new").write_text(str(step))
        saved.with_suffix(".new").replace(saved)
callback.on_end("finished")
"""


def training(store, folder, steps):
    arguments = [store.uri, str(store.artifacts), str(folder), str(steps), store.experiment]
    return subprocess.Popen(
        [sys.executable, "-c", TRAINING, *arguments], stdout=subprocess.PIPE, text=True
    )


def test_a_run_that_is_killed_again_and_again_has_every_step_once(store, tmp_path):
    draw = random.Random(0)
    kills = 0
    for _ in range(5):
        with training(store, tmp_path, STEPS) as process:
            assert process.stdout.readline() == "training\n"
            time.sleep(draw.uniform(0.1, 1.0))
            process.kill()
            kills += process.wait() == -signal.SIGKILL
    assert kills == 5
    with training(store, tmp_path, STEPS) as process:
        assert process.wait() == 0
    every = [(step, 1 / step) for step in range(1, STEPS + 1)]
    assert store.history("loss/seg") == every
    assert store.history("lr/backbone") == [(step, 0.1) for step, _ in every]
    assert [run.info.status for run in store.runs()] == ["FINISHED"]


def test_six_processes_may_start_at_once_on_a_fresh_folder(store, tmp_path):
    store.uri = f"sqlite:///{tmp_path}/outputs/mlflow.db"
    store.artifacts = tmp_path / "outputs" / "artifacts"
    processes = [training(store, tmp_path / f"run{number}", 1) for number in range(6)]
    for process in processes:
        with process:
            assert process.wait() == 0
    runs = store.runs()
    assert sorted(run.info.run_name for run in runs) == [f"run{number}" for number in range(6)]
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.data.metrics["loss/seg"] for run in runs} == {1.0}
