"""Processes that are killed at any moment, again and again, and many that are born at once."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import METHODS, SMALL
from tests.processes import delivered, history, logged, scores, start, until
from tests.test_launch import launch
from tests.test_laws import LIVELY
from uda_hydra.engine.checkpoint import Checkpoints
from uda_hydra.tracking.mlflow_store import connect

pytestmark = pytest.mark.slow

KILLS = 8
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


def folders(run: Path) -> list[Path]:
    """The folders of the stages that have begun."""
    return sorted(path.parent for path in run.rglob("identity.json"))


def begun(run: Path) -> int:
    """Changes whenever a process of the run has logged another step."""
    return sum(path.stat().st_mtime_ns for path in run.rglob("metrics.jsonl"))


def kill_at_random(folder: Path, command: list[str], draw: random.Random) -> int:
    """Start ``command`` and kill it, while it starts or while it trains; its exit code."""
    before = begun(folder / "run")
    process = start(folder, *command)
    if draw.random() < 0.3:
        time.sleep(draw.uniform(0, 6))
    else:
        while process.poll() is None and begun(folder / "run") == before:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.8))
    process.kill()
    process.communicate()
    return process.returncode


def assert_little_is_lost(stage: Path) -> None:
    """What is saved is at most ``trainer.save_every`` steps behind what was computed."""
    state, note = Checkpoints(stage).load()
    saved = state["step"] if state else 0
    done = max(logged(stage), default=0)
    # The step that was being computed is in no log.
    assert done - saved <= SAVE_EVERY, note


@pytest.mark.parametrize(
    ("method", "workers"),
    [*((method, 0) for method in METHODS), ("caco", 0), ("caco", 2), ("proda", 2)],
)
def test_killed_again_and_again_a_run_ends_as_if_undisturbed(streets, tmp_path, method, workers):
    seed = time.time_ns()
    print(f"seed of the moments: {seed}")
    data = (f"dataset.root={streets}", f"dataset.cache_folder={streets}/cache")
    command = [*SHORT, *data, f"method={method}", *LIVELY.get(method, [])]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    done = launch(whole, *command, "tracking=none")
    assert done.returncode == 0, done.stderr

    command += [f"trainer.workers={workers}"]
    draw, codes = random.Random(seed), []
    while len(codes) < KILLS and 0 not in codes:
        codes.append(kill_at_random(killed, command, draw))
        for stage in folders(killed / "run"):
            assert_little_is_lost(stage)
    assert codes.count(-signal.SIGKILL) >= KILLS // 2
    done = launch(killed, *command)
    assert done.returncode == 0, done.stderr
    delivered(killed, done.stderr)

    stages = folders(killed / "run")
    assert [s.relative_to(killed) for s in stages] == [
        s.relative_to(whole) for s in folders(whole / "run")
    ]
    for stage in stages:
        undisturbed = whole / stage.relative_to(killed)
        for name in ("last.pt", "best.pt"):
            assert (stage / name).read_bytes() == (undisturbed / name).read_bytes()
        assert scores(stage / "result.json") == scores(undisturbed / "result.json")
        assert not [*stage.glob(".*.pt.*.tmp"), *stage.glob("next.pt")]
        assert logged(stage) == [*range(1, STEPS + 1)]
        uri = f"sqlite:///{killed}/outputs/mlflow.db"
        assert history(stage, uri) == [*range(1, STEPS + 1)]


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


def test_what_a_dead_server_missed_reaches_it_when_it_lives(tmp_path, streets):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
    uri = f"http://127.0.0.1:{port}"
    command = [*SHORT, f"dataset.root={streets}", f"dataset.cache_folder={streets}/cache"]
    command += ["method=source_only", f"tracking.uri={uri}"]
    done = launch(tmp_path, *command)
    assert done.returncode == 0, done.stderr
    assert "task=sync" in done.stderr
    with server(tmp_path, port):
        for _ in range(2):
            synced = launch(tmp_path, "task=sync", "output=run")
            assert synced.returncode == 0, synced.stderr
            assert history(tmp_path / "run/source_only", uri) == [*range(1, STEPS + 1)]
        assert synced.stdout.splitlines()[-1] == "0 values sent"
