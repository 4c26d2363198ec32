"""The program under attack: launch.py, to which the toy methods of the tests are known."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pkgutil
import resource
import runpy
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import torch
from hydra.core.config_store import ConfigStore

import uda_hydra.methods
from uda_hydra.tracking.mlflow_store import ENVIRONMENT

ROOT = Path(__file__).parents[2]
TOYS = {
    "toy_distil": (
        "toy_distil.ToyDistil",
        {"teacher_checkpoint": "${stage:denoise}/last.pt", "strength": 1.0},
        ("seg", "seg_aux"),
    ),
}
"""Class below tests' toys, arguments and terms of each method that launch.py does not know."""
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink"}


def register_toys() -> None:
    """Let Hydra and the builder find the toys."""
    folder = str(ROOT / "tests/runs/toys")
    uda_hydra.methods.__path__ = [*uda_hydra.methods.__path__, folder]
    for name, (place, arguments, terms) in TOYS.items():
        method = {"_target_": f"uda_hydra.methods.{place}", "name": name, **arguments}
        node = {"defaults": [{"override /loss": name}], "method": method}
        store = ConfigStore.instance().store
        store(group="method", name=name, node=node, package="_global_")
        store(group="loss", name=name, node={f"lambda_{term}": 1.0 for term in terms})


def load() -> None:
    """Import what launch.py imports when it is needed."""
    os.environ.update(ENVIRONMENT)
    for module in pkgutil.walk_packages(uda_hydra.__path__, "uda_hydra."):
        if ".benchmark" not in module.name:
            import_module(module.name)
    import_module("mlflow.store.tracking.sqlalchemy_store")
    # What it imports takes seconds, too.
    torch.use_deterministic_algorithms(False)


def run(overrides: list[str], script: Path = ROOT / "launch.py") -> None:
    """What ``python launch.py <overrides>`` does, or another script."""
    register_toys()
    sys.argv = [script.name, *overrides]
    runpy.run_path(str(script), run_name="__main__")


def run_in(
    folder: Path,
    overrides: list[str],
    log: Path,
    dies_before: int | None,
    largest: int | None,
    no_room_for: str | None,
) -> None:
    """``run`` in a forked process, as a shell would: with a group, a folder and a log of its own.

    It is killed before its change number ``dies_before`` of a file. Without that the number of
    changes is left at the end of the log. A file of more than ``largest`` bytes cannot be written,
    and none whose path has the part ``no_room_for``.
    """
    begin(folder, log, log)
    if largest is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
    if no_room_for is not None:
        fill_disk(no_room_for)
    count = count_changes(dies_before)
    try:
        run(overrides)
    finally:
        print(f"changes: {count()}", flush=True)


def run_apart(
    folder: Path,
    overrides: list[str],
    out: Path,
    err: Path,
    environment: dict[str, str],
    script: Path,
) -> None:
    """``run`` in a forked process with the environment of who asks, and two outputs."""
    os.environ.clear()
    os.environ.update(environment)
    begin(folder, out, err)
    run(overrides, script)


def begin(folder: Path, out: Path, err: Path) -> None:
    """Give this process a group and a folder of its own, and files to write to."""
    os.setsid()
    os.chdir(folder)
    # From a shell workers are forked; a fork server's child would ask another server for them.
    multiprocessing.set_start_method("fork", force=True)
    for number, path in ((1, out), (2, err)):
        with path.open("ab", buffering=0) as file:
            os.dup2(file.fileno(), number)


def count_changes(dies_before: int | None) -> Callable[[], int]:
    """Count how often this process changes a file from now on; returns a function that tells."""
    process, count = os.getpid(), 0

    def note(event: str, arguments: tuple) -> None:
        nonlocal count
        if os.getpid() != process or not (event in CHANGES or opens_to_write(event, arguments)):
            return
        count += 1
        if count == dies_before:
            os.kill(process, signal.SIGKILL)

    sys.addaudithook(note)
    return lambda: count


def fill_disk(part: str) -> None:
    """From now on the disk is full whenever a file is opened whose path has this part."""

    def refuse(event: str, arguments: tuple) -> None:
        if opens_to_write(event, arguments) and part in str(arguments[0]):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    sys.addaudithook(refuse)


def opens_to_write(event: str, arguments: tuple) -> bool:
    return event == "open" and bool((arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR))


if __name__ == "__main__":
    run(sys.argv[1:])
