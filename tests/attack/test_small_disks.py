"""A disk that is full at any moment: one clear line, and the same results once there is room."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.attack.conftest import refused, undisturbed
from tests.attack.outcome import Outcome, difference, outcome
from tests.attack.processes import Attacked
from tests.attack.targets import TARGETS, Command

FILLED = {
    name: (*TARGETS[name].command, "dataset.root=data/streets", "dataset.cache_folder=data/cache")
    for name in ("training", "passes", "self-training", "cache", "sweep")
}
"""All that these commands write is on the small disk."""


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[bool]:
    """Mount a disk of ``size`` bytes on ``folder``; tells whether that was possible."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    possible = shutil.which("mount") is not None and not subprocess.run(mount).returncode
    try:
        yield possible
    finally:
        if possible:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_a_disk(command: Command, folder: Path, size: int, largest: int) -> Outcome:
    """Run ``command`` where there is too little room, and then again where there is enough.

    Where nothing can be mounted, no file may have more than ``largest`` bytes.
    """
    with small_disk(folder, size) as mounted:
        process = Attacked(folder, command, largest=None if mounted else largest)
        code = process.finish()
        assert "Traceback" not in process.said, process.said
        if code:
            refused(process)
        if mounted:
            subprocess.run(["mount", "-o", "remount,size=1g", str(folder)], check=True)
        undisturbed(folder, command)
        if "task=sync" in process.said:
            undisturbed(folder, ("task=sync", "output=."))
        return outcome(folder)


@pytest.mark.parametrize("name", FILLED)
def test_a_full_disk_costs_no_result(name, arena, draw, request):
    # One place for all: what is stored of data is named after where they are.
    command, folder, whole = FILLED[name], arena / f"{name} on a disk", arena / f"{name} with room"
    undisturbed(folder, command)
    wanted = outcome(folder)
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    folder.rename(whole)
    faults = []
    for _ in range(max(1, request.config.getoption("--attack-count") // 25)):
        size = draw.randrange(100_000, sum(sizes) + max(sizes))
        largest = draw.randrange(1000, max(sizes))
        try:
            wrong = difference(wanted, fill_a_disk(command, folder, size, largest))
        except AssertionError as error:
            wrong = [str(error)]
        if wrong:
            faults.append("\n".join([f"a disk of {size} bytes, else files of {largest}", *wrong]))
        shutil.rmtree(folder)
    assert not faults, "\n\n".join(faults)
