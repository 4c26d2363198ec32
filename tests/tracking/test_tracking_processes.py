"""Tracking by processes of their own: born together, killed at any moment."""

from __future__ import annotations

import os
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


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
def test_a_user_id_without_a_name_is_tracked(store, tmp_path):
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o777)
    store.uri = f"sqlite:///{tmp_path}/outputs/mlflow.db"
    store.artifacts = tmp_path / "outputs" / "artifacts"
    arguments = [store.uri, str(store.artifacts), str(tmp_path / "run"), "1", store.experiment]
    nameless = {k: v for k, v in os.environ.items() if k not in ("USER", "LOGNAME", "USERNAME")}
    code = "import os; os.setgid(12345); os.setuid(12345)\n" + TRAINING
    subprocess.run(
        [sys.executable, "-c", code, *arguments], env=nameless | {"HOME": "/"}, check=True
    )
    (run,) = store.runs()
    assert (run.info.status, run.data.tags["mlflow.user"]) == ("FINISHED", "12345")


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
