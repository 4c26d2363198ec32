"""Whatever happens to a file beside a training: the same results again, or one clear line."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.attack.conftest import refused, undisturbed
from tests.attack.outcome import Outcome, difference, files, name_of
from tests.attack.processes import Attacked
from tests.attack.targets import TARGETS, TINY

COMMAND = (*TINY, *TARGETS["passes"].command, "dataset.root=data/streets", "tracking=mlflow")
COMMAND = (*COMMAND, "dataset.cache_folder=data/cache")
RESULTS = ("last.pt", "best.pt", "result.json")
"""What a training is for; other files are made again or stay torn."""


def truncate(path: Path, draw: random.Random) -> None:
    os.truncate(path, draw.randrange(1, max(2, path.stat().st_size)))


def empty(path: Path, draw: random.Random) -> None:
    os.truncate(path, 0)


def scramble(path: Path, draw: random.Random) -> None:
    path.write_bytes(draw.randbytes(path.stat().st_size))


def flip_a_bit(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def replace_by_a_folder(path: Path, draw: random.Random) -> None:
    path.unlink()
    path.mkdir()


def make_unreadable(path: Path, draw: random.Random) -> None:
    """A link to itself: that stops the superuser, too."""
    path.unlink()
    path.symlink_to(path.name)


DAMAGES: list[Callable[[Path, random.Random], None]] = [
    *(truncate, empty, scramble, flip_a_bit, replace_by_a_folder, make_unreadable)
]


@pytest.fixture(scope="module")
def finished(arena) -> Path:
    """A copy of a training that has ended."""
    undisturbed(arena / "torn", COMMAND)
    return (arena / "torn").rename(arena / "finished")


@pytest.fixture(scope="module")
def interrupted(arena, finished) -> Path:
    """A copy of one that was killed after its second checkpoint."""
    folder = arena / "torn"
    folder.mkdir()
    process = Attacked(folder, COMMAND)
    while not [*folder.rglob("previous.pt")]:
        assert process.wait(0) is None, process.said
        time.sleep(0.01)
    process.kill(group=False)
    return folder.rename(arena / "interrupted")


@pytest.mark.parametrize("state", ["finished", "interrupted"])
def test_a_torn_file_costs_no_result(state, arena, finished, draw, request):
    began, wanted = request.getfixturevalue(state), files(finished)
    # Where the training was: what is stored of data is named after where they are.
    folder = arena / "torn"
    faults = []
    for number in range(request.config.getoption("--attack-count") // 8):
        shutil.copytree(began, folder)
        victim = choose_file(folder, draw)
        damage = draw.choice(DAMAGES)
        damage(victim, draw)
        wrong = finish_torn(folder, wanted, torn=name_of(victim.relative_to(folder)))
        if wrong:
            kept = folder.rename(arena / f"torn {state} {number}")
            faults.append("\n".join([f"{damage.__name__} {victim}, now in {kept}", *wrong]))
        else:
            shutil.rmtree(folder)
    assert not faults, "\n\n".join(faults)


def choose_file(folder: Path, draw: random.Random) -> Path:
    """A file with content below ``folder``, where few files weigh as much as many."""
    path = folder
    while path.is_dir():
        path = draw.choice(sorted(path.iterdir()) or [folder])
    return path if path.stat().st_size else choose_file(folder, draw)


def finish_torn(folder: Path, wanted: Outcome, torn: str) -> list[str]:
    """Start the training once more; what is wrong then."""
    process = Attacked(folder, COMMAND)
    try:
        if process.finish():
            refused(process)
            return []
        assert "Traceback" not in process.said, process.said
    except AssertionError as error:
        return [str(error)]
    return [line for line in difference(wanted, files(folder)) if not excused(line, torn)]


def excused(line: str, torn: str) -> bool:
    """Whether a difference is the torn file itself, and no result, or what was moved aside."""
    result = any(fnmatch(torn, f"*/{name}") for name in RESULTS)
    return ".before-" in line or (line.startswith(torn) and not result)
