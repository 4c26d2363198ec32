"""Checkpoints survive kills and damage: what was saved is found, or the loss is reported."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from uda_hydra.engine.checkpoint import Checkpoints, write_atomically


def saved(folder, *steps):
    checkpoints = Checkpoints(folder)
    for step in steps:
        checkpoints.save({"step": step, "weights": torch.full((100,), float(step))})
    return checkpoints


def test_the_last_two_are_kept(tmp_path):
    checkpoints = saved(tmp_path, 1, 2, 3)
    assert checkpoints.load()[0]["step"] == 3
    assert torch.load(checkpoints.previous, weights_only=True)["step"] == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "checksums.txt",
        "last.pt",
        "previous.pt",
    ]


def test_nothing_there_is_no_state_and_no_word(tmp_path):
    assert Checkpoints(tmp_path).load() == (None, "")


@pytest.mark.parametrize("damage", ["truncated", "flipped", "deleted"])
def test_a_damaged_last_falls_back_to_the_one_before(tmp_path, damage):
    checkpoints = saved(tmp_path, 1, 2)
    data = bytearray(checkpoints.last.read_bytes())
    if damage == "deleted":
        checkpoints.last.unlink()
    else:
        data[len(data) // 2] ^= 1
        checkpoints.last.write_bytes(data[:-7] if damage == "truncated" else data)
    state, note = checkpoints.load()
    assert state["step"] == 1
    assert "previous.pt" in note


def test_two_damaged_ones_begin_again_and_say_so(tmp_path):
    checkpoints = saved(tmp_path, 1, 2)
    for path in (checkpoints.last, checkpoints.previous):
        path.write_bytes(b"not a checkpoint")
    state, note = checkpoints.load()
    assert state is None
    assert "damaged" in note


class Killed(BaseException):
    """Ends a save where SIGKILL would: nothing is tidied up."""


@contextmanager
def killed(point: int) -> Iterator[None]:
    """Two points for each step of a save: within it or before it, and behind it."""
    passed = itertools.count()

    def dying(real):
        def call(*arguments):
            if next(passed) == point:
                if real is torch.save:
                    arguments[1].write(b"half")
                raise Killed
            real(*arguments)
            if next(passed) == point:
                raise Killed

        return call

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in ((torch, "save"), (Path, "write_text"), (Path, "replace")):
            patch.setattr(owner, name, dying(getattr(owner, name)))
        yield


SAVING = 2 * 6
"""Points of a save: both files are written and renamed, then next.pt and last.pt move."""


@pytest.mark.parametrize("point", range(SAVING))
def test_three_kills_at_any_point_of_a_save_lose_nothing_that_was_saved(tmp_path, point):
    step = saved(tmp_path, 1, 2).load()[0]["step"]
    for attempt in range(3):
        state = {"step": step + 1, "weights": torch.full((100,), float(attempt))}
        with killed(point), pytest.raises(Killed):
            Checkpoints(tmp_path).save(state)
        found, note = Checkpoints(tmp_path).load()
        assert (found["step"], note) in ((step, ""), (step + 1, ""))
        step = found["step"]
    saved(tmp_path, 9)
    assert Checkpoints(tmp_path).load()[0]["step"] == 9
    # Each of the two would do alone.
    (tmp_path / "last.pt").write_bytes(b"damaged")
    assert Checkpoints(tmp_path).load()[0]["step"] == step


def test_a_save_has_no_further_points(tmp_path):
    checkpoints = saved(tmp_path, 1, 2)
    with killed(SAVING):
        checkpoints.save({"step": 3})


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"0" * 64])
def test_without_checksums_nothing_is_trusted_and_nothing_thrown_away(tmp_path, content):
    saved(tmp_path, 1, 2)
    last = (tmp_path / "last.pt").read_bytes()
    (tmp_path / "checksums.txt").unlink()
    if content is not None:
        (tmp_path / "checksums.txt").write_bytes(content)
    state, note = Checkpoints(tmp_path).load()
    assert state is None
    assert "damaged, starting again" in note and "last.pt.before-1" in note
    saved(tmp_path, 1)
    assert (tmp_path / "last.pt.before-1").read_bytes() == last


def test_a_damaged_last_does_not_take_the_place_of_the_one_before(tmp_path):
    saved(tmp_path, 1, 2)
    (tmp_path / "last.pt").write_bytes(b"damaged")
    checkpoints = Checkpoints(tmp_path)
    checkpoints.load()
    checkpoints.save({"step": 2})
    assert torch.load(checkpoints.previous, weights_only=True)["step"] == 1


def test_a_failing_writer_leaves_the_old_file_and_names_the_folder(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")

    def fail(temporary):
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=rf"cannot write result.json into {tmp_path}.*No space left"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        ("both", {"last.pt", "previous.pt", "best.pt"}),
        ("last", {"last.pt"}),
        ("best", {"best.pt"}),
        ("weights", {"last.pt"}),
    ],
)
def test_a_finished_training_leaves_what_is_to_be_kept(tmp_path, keep, left):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save({"step": step, "optimizers": {"a": torch.ones(9)}})
        checkpoints.save_best({"step": step, "optimizers": {"a": torch.ones(9)}})
    checkpoints.thin_out(keep)
    assert {path.name for path in tmp_path.glob("*.pt")} == left
    held = torch.load(tmp_path / sorted(left)[-1 if keep != "both" else 1], weights_only=True)
    assert held["step"] == 2
    assert ("optimizers" in held) == (keep in ("both", "last"))
    assert Checkpoints(tmp_path).is_finished()
    # Damage is noticed, whichever file counts.
    path = tmp_path / ("best.pt" if keep == "best" else "last.pt")
    path.write_bytes(b"damaged")
    assert not Checkpoints(tmp_path).is_finished()


def test_a_kill_while_optimizers_are_dropped_loses_nothing(tmp_path):
    for point in range(2 * 5):
        checkpoints = Checkpoints(tmp_path / str(point))
        checkpoints.folder.mkdir()
        for step in (1, 2):
            checkpoints.save({"step": step, "optimizers": {}})
        with killed(point), pytest.raises(Killed):
            checkpoints.thin_out("weights")
        found, note = Checkpoints(checkpoints.folder).load()
        assert (found["step"], note) == (2, "")
