"""Processes that are born at once, and a server that was dead while one of them trained."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import SMALL
from tests.processes import history, start, until
from tests.test_launch import launch
from uda_hydra.tracking.mlflow_store import connect

pytestmark = pytest.mark.slow

STEPS, SAVE_EVERY = 40, 3
SHORT = (
    *SMALL[:-2],
    "callbacks=none",
    f"trainer.steps={STEPS}",
    "trainer.evaluate_every=7",
    f"trainer.save_every={SAVE_EVERY}",
    "trainer.log_every=1",
    "output=run",
)


def test_six_runs_started_at_once_on_a_fresh_folder_all_succeed(tmp_path):
    short = [o for o in SHORT if not o.startswith("output=")]
    command = [*short, "method=source_only", "trainer.steps=4"]
    runs = [start(tmp_path, *command, f"seed={seed}") for seed in range(6)]
    for run in runs:
        said = run.communicate(timeout=600)[1]
        assert run.returncode == 0, said
    assert launch(tmp_path, "task=sync").returncode == 0
    results = [
        json.loads(p.read_text()) for p in tmp_path.glob("outputs/runs/*/source_only/result.json")
    ]
    assert len({result["miou/last"] for result in results}) == 6
    client = connect(f"sqlite:///{tmp_path}/outputs/mlflow.db")
    experiment = client.get_experiment_by_name("uda_hydra")
    stored = client.search_runs([experiment.experiment_id])
    assert [run.info.status for run in stored] == ["FINISHED"] * 6
    assert sorted(run.data.params["seed"] for run in stored) == [str(seed) for seed in range(6)]


@contextmanager
def server(folder: Path, port: int) -> Iterator[None]:
    """An MLflow server of our own at ``port``."""
    options = ["--port", str(port), "--workers", "1", "--backend-store-uri", "sqlite:///served.db"]
    command = [sys.executable, "-m", "mlflow", "server", *options]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
        try:
            until(lambda: answers(port), process)
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def answers(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def test_what_a_dead_server_missed_reaches_it_when_it_lives(tmp_path, data):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    command = [*SHORT, *data, "method=source_only", f"tracking.uri={uri}"]
    done = launch(tmp_path, *command)
    assert done.returncode == 0, done.stderr
    assert "task=sync" in done.stderr
    with server(tmp_path, port):
        for _ in range(2):
            synced = launch(tmp_path, "task=sync", "output=run")
            assert synced.returncode == 0, synced.stderr
            assert history(tmp_path / "run/source_only", uri) == [*range(1, STEPS + 1)]
        assert synced.stdout.splitlines()[-1] == "0 values sent"
