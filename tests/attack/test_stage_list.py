"""ProDA's stages after faults between them: the same last weights, no more work than needed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from random import Random

import pytest

from tests.attack.conftest import refused, undisturbed
from tests.attack.outcome import difference, outcome
from tests.attack.processes import Attacked
from tests.attack.targets import TARGETS
from tests.damage import damaged
from uda_hydra.files import digest

COMMAND = TARGETS["self-training"].command
STAGES = ("warmup", "stage1", "stage2", "stage3")
LAST = "run/stage3/last.pt"
INTERMEDIATE = (
    *("warmup/last.pt", "stage1/last.pt", "stage2/last.pt", "stage2/identity.json"),
    *("stage1/labels/items/*", "stage1/class_means/items/*", "stage1/prototypes/items/*"),
    *("stage1/labels/identity.json", "stage2/labels/items/*", "stage2/labels/done.json"),
)
"""What one stage makes and another, or itself, reads."""


@pytest.fixture(scope="module")
def whole(arena) -> Path:
    """The folder of the run that nothing disturbs."""
    folder = arena / "stage list"
    undisturbed(folder, COMMAND)
    return folder


@pytest.fixture
def copied(whole, arena, request) -> Path:
    """A folder with the finished run, for one test."""
    folder = arena / re.sub(r"\W+", "-", request.node.name)
    shutil.copytree(whole, folder)
    return folder


def begun_again(folder: Path, stages: tuple[str, ...]) -> None:
    """As if a process had been killed before it began with the first of these stages' steps."""
    for stage in stages:
        for name in ("last.pt", "previous.pt", "best.pt", "result.json", "checksums.txt"):
            (folder / "run" / stage / name).unlink(missing_ok=True)
    (folder / "run/result.json").unlink(missing_ok=True)


@pytest.mark.parametrize("file", INTERMEDIATE)
def test_a_lost_or_damaged_intermediate_file_is_made_again(whole, copied, draw, file):
    kind = draw.choice(("deleted", "half", "binary"))
    victim = draw.choice(sorted((copied / "run").glob(file)))
    stage = file.partition("/")[0]
    # The stage that reads it is still to come: of its own labels the stage itself.
    own = not file.endswith("last.pt")
    begun_again(copied, STAGES[STAGES.index(stage) + (0 if own else 1) :])
    if kind == "deleted":
        victim.unlink()
    else:
        victim.write_bytes(damaged(victim.read_bytes(), kind))
    undisturbed(copied, COMMAND)
    assert digest(copied / LAST) == digest(whole / LAST)


@pytest.mark.parametrize(
    ("override", "first"),
    [
        ("+stage.warmup.loss.lambda_adv=0.02", "warmup"),
        ("+stage.stage1.method.prototype_temperature=2.0", "stage1"),
        ("+stage.stage2.method.threshold=0.1", "stage2"),
    ],
)
def test_a_changed_stage_and_all_after_it_are_trained_again(arena, copied, override, first):
    place = STAGES.index(first)
    kept = {stage: digest(copied / "run" / stage / "last.pt") for stage in STAGES[:place]}
    process = Attacked(copied, (*COMMAND, override))
    assert process.finish() == 0, process.said
    for stage in STAGES:
        again = (copied / f"run/{stage}.before-1").exists()
        assert again == (f"{stage}: changed, retraining" in process.said) == (stage not in kept)
    assert override.partition(f"{first}.")[2].partition("=")[0] in process.said
    for stage, before in kept.items():
        assert digest(copied / "run" / stage / "last.pt") == before
    fresh = arena / f"fresh {first}"
    undisturbed(fresh, (*COMMAND, override))
    assert digest(copied / LAST) == digest(fresh / LAST)


@pytest.mark.parametrize("stage", ["stage1", "stage2", "stage3"])
def test_a_disk_that_is_full_while_labels_are_written(whole, arena, stage, draw: Random):
    folder = arena / f"full in {stage}"
    folder.mkdir()
    item = draw.choice(sorted((whole / "run" / stage / "labels/items").iterdir()))
    process = Attacked(folder, COMMAND, no_room_for=str(item.relative_to(whole)))
    refused(process, f"cannot write into run/{stage}/labels (No space left on device)")
    undisturbed(folder, COMMAND)
    assert not difference(outcome(whole), outcome(folder))
