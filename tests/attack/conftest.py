"""The attack's seed and size, and the folder in which it takes place."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.attack.outcome import difference, outcome
from tests.attack.processes import Attacked
from tests.attack.targets import TRAINING


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("attack")


@pytest.fixture
def draw(request) -> random.Random:
    """Decides whatever is left to chance: by the seed, and differently in each test."""
    seed = f"{request.config.getoption('--attack-seed')} {request.node.name}"
    print(f"seed: {seed}")
    return random.Random(seed)


@pytest.fixture(scope="session")
def arena(tmp_path_factory) -> Path:
    """A folder in which scenes are drawn and decoded, for the folders of attacks beside them."""
    folder = tmp_path_factory.mktemp("arena")
    undisturbed(folder / "training", TRAINING)
    return folder


@pytest.fixture(scope="session")
def importing(arena) -> float:
    """Seconds by which a process from a shell is later than a forked one; their results agree."""
    warm, cold = arena / "forked", arena / "from a shell"
    forked = undisturbed(warm, TRAINING)
    shell = undisturbed(cold, TRAINING, cold=True)
    assert not difference(outcome(warm), outcome(cold))
    return shell - forked


def undisturbed(folder: Path, *commands: tuple[str, ...], cold: bool = False) -> float:
    """Run the commands one after the other; returns the seconds of the last one."""
    folder.mkdir(exist_ok=True)
    for command in commands:
        process = Attacked(folder, command, cold=cold)
        assert process.finish() == 0, process.said
    return process.seconds


def refused(process: Attacked, message: str = "error: ") -> None:
    """Fail unless the process has ended with exit code 1 and a ``message``, and no traceback."""
    assert process.finish() == 1, process.said
    assert "Traceback" not in process.said, process.said
    assert message in process.said, process.said
