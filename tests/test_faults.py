"""Processes that are stopped, kept out, or cannot write: what it costs, and how they go on."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT
from tests.processes import (
    QUIET,
    SAVE_EVERY,
    SOURCE_ONLY,
    STEPS,
    assert_as_undisturbed,
    contents,
    delivered,
    history,
    logged,
    refused,
    run_of,
    start,
    status,
    until,
)
from tests.test_launch import launch
from uda_hydra.engine.checkpoint import Checkpoints
from uda_hydra.engine.lock import locked
from uda_hydra.errors import reported


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """Folder of the run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    done = launch(folder, *QUIET, *data)
    assert done.returncode == 0, done.stderr
    return folder / "run/source_only"


@pytest.mark.parametrize(
    ("number", "workers"),
    [pytest.param(signal.SIGTERM, 0, marks=pytest.mark.slow), (signal.SIGINT, 2)],
)
def test_a_signal_saves_and_the_same_command_goes_on(tmp_path, data, whole, number, workers):
    command = [*SOURCE_ONLY, *data, f"trainer.workers={workers}"]
    run, uri = tmp_path / "run/source_only", f"sqlite:///{tmp_path}/outputs/mlflow.db"
    process = start(tmp_path, *command)
    until(lambda: len(logged(run)) >= 2, process)
    # To the whole group, data loading workers included: a Ctrl-C in a terminal does that.
    os.killpg(process.pid, number)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 128 + number, said
    assert "Traceback" not in said
    step = torch.load(run / "last.pt", weights_only=True)["step"]
    assert 2 <= step < STEPS
    assert logged(run) == [*range(1, step + 1)]
    assert f"stopped by {signal.Signals(number).name} after step {step}; the same command" in said
    delivered(tmp_path, said)
    assert status(run, uri) == "KILLED"

    again = launch(tmp_path, *command)
    assert again.returncode == 0, again.stderr
    assert f"resuming after step {step}" in again.stdout
    assert_as_undisturbed(run, whole)
    delivered(tmp_path, again.stderr)
    assert history(run, uri) == [*range(1, STEPS + 1)]
    assert status(run, uri) == "FINISHED"


@pytest.fixture
def hydra_errors(monkeypatch):
    """Restores afterwards what ``reported`` sets for the whole process."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")


@pytest.mark.usefixtures("hydra_errors")
def test_a_signal_in_the_last_step_of_a_stage_keeps_the_next_from_beginning(make_trainer):
    trainer = make_trainer("method=source_only", "trainer.steps=2", "trainer.evaluate_every=1")
    real = trainer.step

    def signalled(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments)

    trainer.done = 1
    trainer.step = signalled
    with pytest.raises(SystemExit) as stopped, reported():
        trainer.fit(run_of(trainer))
    assert stopped.value.code == 128 + signal.SIGTERM
    resumed = make_trainer("method=source_only", "trainer.steps=2", "trainer.evaluate_every=1")
    assert resumed.restore() == "resuming after step 2"
    resumed.fit(run_of(resumed))
    assert resumed.last.miou == trainer.last.miou


@pytest.mark.usefixtures("hydra_errors")
def test_a_keyboard_interrupt_outside_of_a_step_is_one_line(capsys):
    with pytest.raises(SystemExit) as stopped, reported():
        raise KeyboardInterrupt
    assert stopped.value.code == 128 + signal.SIGINT
    assert "the same command resumes" in capsys.readouterr().err


def test_a_second_process_is_refused_and_the_first_unharmed(tmp_path, data, whole):
    process = start(tmp_path, *QUIET, *data)
    run = tmp_path / "run/source_only"
    until((run / "last.pt").exists, process)
    # Held still, so that it is at work however long the second one takes to start.
    process.send_signal(signal.SIGSTOP)
    before = contents(run)
    message = refused(launch(tmp_path, *QUIET, *data))
    assert f"pid {process.pid} on" in message
    assert "holds run/.lock" in message
    assert "output=" in message
    assert contents(run) == before
    process.send_signal(signal.SIGCONT)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 0, said
    assert_as_undisturbed(tmp_path / "run/source_only", whole)


HOLDER = """
import os, sys, time
from pathlib import Path
from uda_hydra.engine.lock import locked
with locked(Path(sys.argv[1])):
    worker = os.fork()
    if worker:
        print(worker, flush=True)
    time.sleep(60)
"""


def test_a_killed_process_frees_its_folder_though_its_workers_outlive_it(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as holder:
        worker = int(holder.stdout.readline())
        with pytest.raises(OSError, match="another process"), locked(tmp_path):
            pass
        holder.kill()
        holder.wait()
        try:
            with locked(tmp_path):
                pass
        finally:
            os.kill(worker, signal.SIGKILL)


def test_what_the_system_said_is_told_and_not_what_torch_made_of_it(tmp_path, monkeypatch):
    def fail(*_):
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            raise RuntimeError("unexpected pos 768 vs 662")  # noqa: B904

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match=rf"next.pt into {tmp_path} \(No space left on device\)"):
        Checkpoints(tmp_path).save({"step": 1})


def test_what_a_killed_process_left_half_written_goes(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save({"step": 1})
    kept = contents(tmp_path)
    for name in (".next.pt.99999998.tmp", ".best.pt.99999999.tmp"):
        (tmp_path / name).write_bytes(b"half")
    assert checkpoints.load() == ({"step": 1}, "")
    assert contents(tmp_path) == kept


def mounted(folder: Path, options: str) -> bool:
    """Whether a file system in memory could be mounted on ``folder``."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    return shutil.which("mount") is not None and subprocess.run(command).returncode == 0


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A folder on a disk of its own of 30 MB, or a plain one where nothing can be mounted."""
    folder = tmp_path / "disk"
    mine = mounted(folder, "size=30m")
    yield folder
    if mine:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def filled(disk: Path, process: subprocess.Popen[str]) -> Iterator[None]:
    """No room for another byte on ``disk``; where it is no small one, none for large files."""
    if not disk.is_mount():
        with large_files_fail(disk, process):
            yield
        return
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(100_000))
    yield
    filler.unlink()


@contextmanager
def large_files_fail(disk: Path, process: subprocess.Popen[str]) -> Iterator[None]:
    """Every write of ``process`` beyond the first megabyte of a file fails."""
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
    yield


@pytest.mark.parametrize(
    "obstacle", [filled, pytest.param(large_files_fail, marks=pytest.mark.slow)]
)
def test_a_disk_that_takes_no_more_costs_nothing_that_was_saved(
    tmp_path, data, disk, whole, obstacle
):
    command = [*QUIET, *data, "output=disk/run", "trainer.evaluate_every=24"]
    run = disk / "run/source_only"
    process = start(tmp_path, *command)
    until((run / "last.pt").exists, process)
    with obstacle(disk, process):
        out, said = process.communicate(timeout=120)
        finished = subprocess.CompletedProcess(command, process.returncode, out, said)
        message = refused(finished)
        # Where the disk fills up just after last.pt, what is kept beside it comes first.
        names = ("next.pt", "cost.json")
        assert any(f"cannot write {name} into disk/run/source_only" in message for name in names)
        assert "the same command" in message
        # 8.3 MB of weights and momentum, of which not half fits into what is left.
        if disk.is_mount() and obstacle is filled and "next.pt" in message:
            assert "No space left on device: it takes 8.3 MB and" in message
        state, note = Checkpoints(run).load()
        assert state["step"] % SAVE_EVERY == 0
        assert not note
    # Larger, for best.pt comes on top.
    if disk.is_mount():
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
    again = launch(tmp_path, *command)
    assert again.returncode == 0, again.stderr
    assert f"resuming after step {state['step']}" in again.stdout
    assert (run / "last.pt").read_bytes() == (whole / "last.pt").read_bytes()


@pytest.mark.parametrize("obstacle", ["below a file", "read-only"])
def test_a_folder_that_cannot_be_written_to_is_named(tmp_path, data, obstacle):
    place = tmp_path / "place"
    mine = obstacle == "read-only" and mounted(place, "ro")
    if obstacle == "below a file":
        place.write_text("no folder")
    elif not mine:
        place.mkdir(mode=0o555, exist_ok=True)
    try:
        message = refused(launch(tmp_path, *QUIET, *data, "output=place/run"))
    finally:
        if mine:
            subprocess.run(["umount", str(place)], check=True)
    assert "nothing can be written into place/run" in message
    assert "output=" in message


def test_a_database_that_is_locked_costs_the_training_nothing(tmp_path, data, whole):
    run, uri = tmp_path / "run/source_only", f"sqlite:///{tmp_path}/outputs/mlflow.db"
    (tmp_path / "outputs").mkdir()
    with closing(sqlite3.connect(tmp_path / "outputs/mlflow.db")) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        done = launch(tmp_path, *SOURCE_ONLY, *data)
    assert done.returncode == 0, done.stderr
    assert "tracking failed and will retry" in done.stderr
    assert "task=sync output=" in done.stderr
    assert_as_undisturbed(run, whole)
    for _ in range(2):
        synced = launch(tmp_path, "task=sync", "output=run")
        assert synced.returncode == 0, synced.stderr
        assert history(run, uri) == [*range(1, STEPS + 1)]
    assert synced.stdout.splitlines()[-1] == "0 values sent"
    assert status(run, uri) == "FINISHED"


def test_a_server_that_is_gone_costs_the_training_nothing(tmp_path, data, whole):
    # Port 9 of this machine: nothing listens there.
    uri = "tracking.uri='http://me:secret@127.0.0.1:9'"
    done = launch(tmp_path, *SOURCE_ONLY, *data, uri)
    assert done.returncode == 0, done.stderr
    assert "task=sync output=" in done.stderr
    assert_as_undisturbed(tmp_path / "run/source_only", whole)
    assert logged(tmp_path / "run/source_only") == [*range(1, STEPS + 1)]
    synced = launch(tmp_path, "task=sync", "output=run", uri)
    assert "1 of 1 runs are not sent" in refused(synced)
    assert synced.stderr.count("no answer from tracking.uri=http://me:***@127.0.0.1:9") == 1
    assert "secret" not in done.stdout + done.stderr + synced.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if b"secret" in path.read_bytes()]
