"""Faults of whole processes: what they cost, what is said, and how the same command goes on."""

from __future__ import annotations

import ast
import json
import os
import pickle
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from tests.conftest import ROOT, SMALL, composed
from tests.test_launch import launch
from uda_hydra.callbacks.store import connect
from uda_hydra.engine.checkpoint import Checkpoints
from uda_hydra.engine.events import Run
from uda_hydra.engine.finite import NonFiniteLoss
from uda_hydra.engine.lock import locked
from uda_hydra.errors import UserError, reported, told

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


@pytest.fixture(scope="module")
def data(streets):
    """Where the scenes and the decoded images of these tests are."""
    return (f"dataset.root={streets}", f"dataset.cache_folder={streets}/cache")


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """Folder of the run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    done = launch(folder, *QUIET, *data)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def assert_as_undisturbed(run: Path, whole: Path) -> None:
    assert (run / "last.pt").read_bytes() == (whole / "last.pt").read_bytes()
    assert (run / "best.pt").read_bytes() == (whole / "best.pt").read_bytes()
    assert scores(run / "result.json") == scores(whole / "result.json")
    assert not [*run.glob(".*.tmp"), *run.glob("next.pt")]


@pytest.mark.parametrize(("number", "workers"), [(signal.SIGTERM, 0), (signal.SIGINT, 2)])
def test_a_signal_saves_and_the_same_command_goes_on(tmp_path, data, whole, number, workers):
    command = [*SOURCE_ONLY, *data, f"trainer.workers={workers}"]
    run, uri = tmp_path / "run", f"sqlite:///{tmp_path}/outputs/mlflow.db"
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
    assert "the same command goes on" in capsys.readouterr().err


def test_a_second_process_is_refused_and_the_first_unharmed(tmp_path, data, whole):
    process = start(tmp_path, *QUIET, *data)
    until((tmp_path / "run/last.pt").exists, process)
    # Held still, so that it is at work however long the second one takes to start.
    process.send_signal(signal.SIGSTOP)
    before = contents(tmp_path / "run")
    message = refused(launch(tmp_path, *QUIET, *data))
    assert f"pid {process.pid} on" in message
    assert "is at work in run" in message
    assert "output=" in message
    assert contents(tmp_path / "run") == before
    process.send_signal(signal.SIGCONT)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 0, said
    assert_as_undisturbed(tmp_path / "run", whole)


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


def test_what_a_killed_process_left_half_written_goes(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save({"step": 1})
    kept = contents(tmp_path)
    for name in (".next.pt.1.tmp", ".best.pt.23.tmp"):
        (tmp_path / name).write_bytes(b"half")
    assert checkpoints.load() == ({"step": 1}, "")
    assert contents(tmp_path) == kept


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


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


@pytest.mark.parametrize("obstacle", [filled, large_files_fail])
def test_a_disk_that_takes_no_more_costs_nothing_that_was_saved(
    tmp_path, data, disk, whole, obstacle
):
    command = [*QUIET, *data, "output=disk/run", "trainer.evaluate_every=24"]
    run = disk / "run"
    process = start(tmp_path, *command)
    until((run / "last.pt").exists, process)
    with obstacle(disk, process):
        out, said = process.communicate(timeout=120)
        finished = subprocess.CompletedProcess(command, process.returncode, out, said)
        message = refused(finished)
        assert "cannot write next.pt into disk/run" in message
        assert "the same command" in message
        # 8.3 MB of weights and momentum, of which not half fits into what is left.
        if disk.is_mount() and obstacle is filled:
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


def run_of(trainer) -> Run:
    return Run("fault", trainer.folder, steps=trainer.settings.steps, start=trainer.done, config={})


@pytest.mark.parametrize(
    ("rate", "blamed"), [("1e9", r"step \d: loss/seg is "), ("3e38", "step 1: largest weight is ")]
)
def test_a_number_that_is_none_stops_the_run_and_reaches_no_file(
    make_trainer, tmp_path, rate, blamed
):
    trainer = make_trainer(
        "method=source_only",
        "loss.lambda_seg=1000",
        f"optimizer.lr={rate}",
        "trainer.steps=9",
        "trainer.save_every=1",
    )
    with pytest.raises(NonFiniteLoss, match=blamed) as stopped:
        trainer.fit(run_of(trainer))
    step = int(str(stopped.value).split(":")[0].removeprefix("step "))
    batch = next(
        iter(
            trainer.pair.streams(
                seed=0, steps=range(step - 1, step), batch_size=2, workers=0, pin=False
            )
        )
    )
    for key in (*batch[0].key, *batch[1].key):
        assert key in str(stopped.value)
    assert str(trainer.checkpoints.last) in str(stopped.value)
    for path in tmp_path.glob("*.pt"):
        saved = torch.load(path, weights_only=True)["method"]
        assert all(value.isfinite().all() for value in saved.values())
    state = trainer.checkpoints.load()[0]
    assert (state["step"] if state else 0) == step - 1


def test_a_loss_that_is_no_number_ends_in_one_message(tmp_path, data):
    command = [*QUIET, *data, "optimizer.lr=1e9", "trainer.save_every=1"]
    message = refused(launch(tmp_path, *command))
    assert "loss/seg is nan" in message
    assert "run/last.pt" in message


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_is_cut_short_is_named_at_its_step(tmp_path, workers):
    command = [*QUIET, "trainer.steps=4", "dataset.cache=false", f"trainer.workers={workers}"]
    assert launch(tmp_path, *command, "trainer.steps=1").returncode == 0
    (victim,) = (tmp_path / "data/streets").glob("v*/GTA5/images/00003.png")
    victim.write_bytes(victim.read_bytes()[:-20])
    # Three steps of two show all six images.
    message = refused(launch(tmp_path, *command, "output=other"))
    assert message.startswith(f"error: {victim.relative_to(tmp_path)} is cut short")
    assert message.endswith("task=check_data finds all such files of a data set.")


def test_an_error_keeps_its_own_words():
    with pytest.raises(UserError, match=r"^a: b\nc$"), told(ValueError):
        raise ValueError("a: b\nc")
    with pytest.raises(KeyError), told(ValueError):
        raise KeyError("a")


def test_too_little_memory_names_keys_that_exist(make_trainer):
    trainer = make_trainer("method=source_only")

    def step(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB.\nMore words.")

    trainer.step = step
    with pytest.raises(UserError, match="Tried to allocate 3 GiB") as stopped:
        trainer.fit(run_of(trainer))
    config = composed("method=source_only")
    for key in (
        "trainer.batch_size",
        "trainer.accumulate",
        "trainer.activation_checkpointing",
        "trainer.precision",
        "dataset.source.size",
        "dataset.target.size",
    ):
        assert key in str(stopped.value)
        assert OmegaConf.select(config, key) is not None


def calls(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Dotted name and keyword arguments of each call in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            words = {word.arg: ast.unparse(word.value) for word in node.keywords if word.arg}
            yield ast.unparse(node.func), words


@pytest.mark.parametrize(
    "path",
    [ROOT / "launch.py", *sorted((ROOT / "uda_hydra").rglob("*.py"))],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_nothing_that_is_loaded_may_run_code(path):
    for name, keywords in calls(path):
        assert name not in ("pickle.load", "pickle.loads", "joblib.load")
        if name == "torch.load":
            assert keywords.get("weights_only") == "True"
        if name in ("np.load", "numpy.load", "np.lib.format.open_memmap"):
            assert keywords.get("allow_pickle", "False") == "False"


class Malicious:
    """Unpickled without care, it writes a file."""

    def __reduce__(self):
        return Path.write_text, (Path("ran"), "code was run")


def pickled(content: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


@pytest.mark.parametrize("save", [torch.save, pickled])
def test_code_in_an_initial_file_is_not_run(tmp_path, data, save):
    save({"conv1.weight": Malicious()}, tmp_path / "weights.pth")
    message = refused(launch(tmp_path, *QUIET, *data, "init=weights.pth"))
    assert "init=weights.pth: cannot be read as weights" in message
    assert not (tmp_path / "ran").exists()


def test_a_database_that_is_locked_costs_the_training_nothing(tmp_path, data, whole):
    run, uri = tmp_path / "run", f"sqlite:///{tmp_path}/outputs/mlflow.db"
    (tmp_path / "outputs").mkdir()
    with closing(sqlite3.connect(tmp_path / "outputs/mlflow.db")) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        done = launch(tmp_path, *SOURCE_ONLY, *data)
    assert done.returncode == 0, done.stderr
    assert "tracking waits, training goes on" in done.stderr
    assert "task=sync sends the rest" in done.stderr
    assert_as_undisturbed(run, whole)
    for _ in range(2):
        synced = launch(tmp_path, "task=sync", "output=run")
        assert synced.returncode == 0, synced.stderr
        assert history(run, uri) == [*range(1, STEPS + 1)]
    assert synced.stdout.splitlines()[-1] == "0 values sent"
    assert status(run, uri) == "FINISHED"


def test_a_server_that_is_gone_costs_the_training_nothing(tmp_path, data, whole):
    # Port 9 of this machine: nothing listens there.
    done = launch(tmp_path, *SOURCE_ONLY, *data, "tracking.uri=http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert "task=sync sends the rest" in done.stderr
    assert_as_undisturbed(tmp_path / "run", whole)
    assert logged(tmp_path / "run") == [*range(1, STEPS + 1)]
    message = refused(launch(tmp_path, "task=sync", "output=run"))
    assert "no answer from tracking.uri=http://127.0.0.1:9" in message
