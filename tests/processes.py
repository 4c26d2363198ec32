"""Trainings as processes of their own: starting them, watching them, reading what they leave."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.conftest import ROOT, SMALL
from tests.test_launch import launch
from uda_hydra.engine.events import Run
from uda_hydra.tracking.mlflow_store import connect

STEPS, SAVE_EVERY = 24, 4
SOURCE_ONLY = (
    *SMALL[:-2],
    "callbacks=none",
    "method=source_only",
    f"trainer.steps={STEPS}",
    "trainer.evaluate_every=12",
    f"trainer.save_every={SAVE_EVERY}",
    "trainer.log_every=1",
    "output=run",
)
QUIET = (*SOURCE_ONLY, "tracking=none")


def start(folder: Path, *overrides: str) -> subprocess.Popen[str]:
    """launch.py in a process group of its own, as a shell starts it."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "launch.py"), *overrides],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def until(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for something that a running process is about to do."""
    limit = time.monotonic() + 120
    while not happened():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < limit, "it never happened"
        time.sleep(0.01)


def logged(folder: Path) -> list[int]:
    """The steps that a tracked run has written down, in order."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    steps = [json.loads(line) for line in lines if line.endswith("}")]
    return [point["step"] for point in steps if "loss/seg" in point["values"]]


def history(folder: Path, uri: str) -> list[int]:
    """The steps that MLflow has of the run in ``folder``, in its order."""
    run = json.loads((folder / "mlflow.json").read_text())["run_id"]
    points = connect(uri).get_metric_history(run, "loss/seg")
    return [point.step for point in points]


def status(folder: Path, uri: str) -> str:
    """How MLflow says that the run in ``folder`` stands."""
    run = json.loads((folder / "mlflow.json").read_text())["run_id"]
    return connect(uri).get_run(run).info.status


def delivered(folder: Path, said: str) -> None:
    """Do as the run said if a busy machine made it end before MLflow had taken everything."""
    if "task=sync" in said:
        done = launch(folder, "task=sync", "output=run")
        assert done.returncode == 0, done.stderr


def scores(path: Path) -> str:
    """The numbers of a result that must not depend on how often a run was stopped."""
    result = json.loads(path.read_text())
    kept = {k: v for k, v in result.items() if isinstance(v, float | int)}
    # As text: a class without a pixel has no IoU, and nan differs from itself.
    return json.dumps({k: v for k, v in kept.items() if k not in ("seconds", "peak_memory_gb")})


def refused(process: subprocess.CompletedProcess[str]) -> str:
    """The one message of a run that ended with exit code 1."""
    assert process.returncode == 1, process.stderr
    assert "Traceback" not in process.stderr
    message = [line for line in process.stderr.splitlines() if line.startswith("error: ")]
    assert len(message) == 1, process.stderr
    return message[0]


def assert_as_undisturbed(run: Path, whole: Path) -> None:
    assert (run / "last.pt").read_bytes() == (whole / "last.pt").read_bytes()
    assert (run / "best.pt").read_bytes() == (whole / "best.pt").read_bytes()
    assert scores(run / "result.json") == scores(whole / "result.json")
    assert not [*run.glob(".*.tmp"), *run.glob("next.pt")]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def run_of(trainer) -> Run:
    return Run("fault", trainer.folder, steps=trainer.settings.steps, start=trainer.done, config={})
