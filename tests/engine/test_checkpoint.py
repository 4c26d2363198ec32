from __future__ import annotations

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


@pytest.mark.parametrize("moves", [0, 1, 2])
def test_a_crash_between_any_two_renames_leaves_an_intact_one(tmp_path, monkeypatch, moves):
    checkpoints = saved(tmp_path, 1, 2)
    real = type(tmp_path).replace
    done = []

    def crash(self, target):
        if len(done) == moves + 2:  # the two atomic writes come first
            raise KeyboardInterrupt
        done.append(target)
        return real(self, target)

    monkeypatch.setattr(type(tmp_path), "replace", crash)
    if moves < 2:
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save({"step": 3})
    else:
        checkpoints.save({"step": 3})
    monkeypatch.undo()
    assert checkpoints.load()[0]["step"] == (3 if moves == 2 else 2)


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
