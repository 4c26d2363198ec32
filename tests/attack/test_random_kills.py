"""Commands that are killed at any moment, again and again, end as if nothing had happened."""

from __future__ import annotations

import itertools
import math
import random
import re
import shutil
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from tests.attack.conftest import undisturbed
from tests.attack.outcome import Outcome, difference, outcome
from tests.attack.processes import Attacked, alive_in
from tests.attack.targets import SAVE_EVERY, TARGETS, Target
from tests.conftest import METHODS
from tests.processes import logged
from tests.test_laws import LIVELY
from uda_hydra.engine.checkpoint import Checkpoints

COLD = 0.1
"""Share of the starts that import everything first, as from a shell."""
MOST = 5
"""Kills of one run before it is let through."""


@dataclass
class Whole:
    """A target's undisturbed run."""

    outcome: Outcome
    seconds: float
    changes: int
    """How often its process changed a file."""


def run_whole(target: Target, folder: Path) -> Whole:
    commands = [command for command in (target.before, target.command) if command]
    seconds = undisturbed(folder, *commands)
    last = max(folder.parent.glob(f"{folder.name} *.log")).read_text()
    return Whole(outcome(folder), seconds, int(re.findall(r"changes: (\d+)", last)[-1]))


def start_doomed(
    target: Target, folder: Path, whole: Whole, draw: random.Random, importing: float
) -> tuple[Attacked, float]:
    """A process and the seconds after which it is to be killed: inf if it sees to that itself."""
    cold = draw.random() < COLD
    if not cold and draw.random() < 0.5:
        change = draw.randint(1, whole.changes)
        return Attacked(folder, target.command, dies_before=change), math.inf
    moment = draw.uniform(0, whole.seconds + cold * importing)
    return Attacked(folder, target.command, cold=cold), moment


def kill_some(doomed: list[tuple[Attacked, float]], draw: random.Random) -> list[str]:
    """Kill each process at its moment; those that have not ended before, in words."""
    killed = []
    for process, moment in sorted(doomed, key=lambda one: one[1]):
        if moment < math.inf and process.wait(max(0, moment - process.seconds)) is None:
            process.kill(group=draw.random() < 0.5)
        code = process.finish()
        assert code in (0, -signal.SIGKILL), process.said
        assert "damaged" not in process.said, process.said
        if code:
            killed.append(f"{process}, after {process.seconds:.2f} s")
    return killed


def let_through(target: Target, folder: Path) -> None:
    processes = [Attacked(folder, target.command) for _ in range(target.together)]
    for process in processes:
        assert process.finish() == 0, process.said
        assert not re.search("damaged|Traceback", process.said), process.said
    if any("task=sync" in process.said for process in processes):
        undisturbed(folder, ("task=sync", "output=."))
    assert not alive_in(folder)


def assert_little_is_lost(folder: Path) -> None:
    """What is saved is at most ``SAVE_EVERY`` steps behind what was computed."""
    for record in folder.rglob("identity.json"):
        checkpoints = Checkpoints(record.parent)
        intact = [path for path in (checkpoints.last, checkpoints.previous)
                  if checkpoints.intact(path)]  # fmt: skip
        saved = torch.load(intact[0], weights_only=True)["step"] if intact else 0
        # The step that was being computed is in no log.
        assert max(logged(record.parent), default=0) - saved <= SAVE_EVERY, record.parent


def attack(
    target: Target, folder: Path, whole: Whole, draw: random.Random, importing: float
) -> tuple[list[str], list[str]]:
    """Kill one run a few times and let it through; the kills, and what is wrong in the end."""
    folder.mkdir()
    if target.before:
        undisturbed(folder, target.before)
    kills: list[str] = []
    try:
        for _ in range(draw.randint(1, MOST)):
            doomed = [
                start_doomed(target, folder, whole, draw, importing) for _ in range(target.together)
            ]
            more = kill_some(doomed, draw)
            kills += more
            assert_little_is_lost(folder)
            if not more:
                break
        let_through(target, folder)
    except AssertionError as error:
        return kills, [str(error)]
    return kills, difference(whole.outcome, outcome(folder))


@pytest.mark.parametrize("name", TARGETS)
def test_a_command_that_is_killed_ends_as_if_undisturbed(name, arena, importing, draw, request):
    target = TARGETS[name]
    if name == "training":
        # Any method, and any way of loading: a seed chooses one of them.
        method, workers = draw.choice(METHODS), draw.choice((0, 2))
        choice = (f"method={method}", *LIVELY.get(method, ()), f"trainer.workers={workers}")
        target = replace(target, command=(*target.command, *choice))
    whole = run_whole(target, arena / f"{name} whole")
    wanted = request.config.getoption("--attack-count") / len(TARGETS)
    done, faults, began = 0, [], time.monotonic()
    for number in itertools.count():
        if done >= wanted:
            break
        folder = arena / f"{name} {number}"
        kills, wrong = attack(target, folder, whole, draw, importing)
        done += len(kills)
        if wrong:
            faults.append("\n".join([f"in {folder}", *kills, *wrong]))
        else:
            shutil.rmtree(folder)
    print(f"{name}: {done} kills of {number} runs in {time.monotonic() - began:.0f} s")
    assert not faults, "\n\n".join(faults)
