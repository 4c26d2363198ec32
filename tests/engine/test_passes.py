"""Passes over tiny streets: in order, stored, resumed in the middle, repeated for no process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.conftest import ROOT, SMALL, composed
from tests.test_laws import run_of
from uda_hydra import build
from uda_hydra.data.scan import scan
from uda_hydra.engine.finite import FiniteWatch
from uda_hydra.engine.interrupt import Interrupt, Interrupted
from uda_hydra.engine.passes import Passes
from uda_hydra.types import Source, Target

MEANS = {"over": "target", "batch": 2}


@pytest.fixture
def make_passes(make_trainer, tmp_path):
    def make(*overrides, folder=tmp_path, interrupt=None):
        trainer = make_trainer("method=source_only", *overrides, folder=folder)
        return Passes(
            method=trainer.method,
            pair=trainer.pair,
            folder=folder,
            to_device=trainer.to_device,
            bfloat16=False,
            workers=trainer.settings.workers,
            seed=0,
            shown=0,
            interrupt=interrupt or Interrupt(),
        )

    return make


class Counted:
    """Mean logits of each image and some noise; remembers the batches it has seen."""

    def __init__(self, passes):
        self.method, self.seen = passes.method, []

    def __call__(self, batch):
        self.seen.append(batch.key)
        return self.method.predict(batch.image).mean(dim=(2, 3)) + torch.rand(())


def files(folder):
    paths = (p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


def test_a_second_start_computes_nothing(make_passes):
    passes = make_passes()
    first = Counted(passes)
    artifact = passes.run("means", compute=first, **MEANS)
    assert [key for group in first.seen for key in group] == [*passes.pair.target.keys]
    assert artifact.keys == passes.pair.target.keys

    again = make_passes()
    second = Counted(again)
    same = again.run("means", compute=second, **MEANS)
    assert not second.seen
    assert torch.equal(same.read(same.keys[3]), artifact.read(same.keys[3]))


def test_images_are_those_of_training_at_any_size_and_mirrored(make_passes):
    passes = make_passes()
    options = {"compute": lambda batch: batch.image, "batch": 4}
    plain = passes.run("plain", over="source", **options)
    mirrored = passes.run("mirrored", over="source", mirror=True, **options)
    larger = passes.run("larger", over="source", size=(128, 96), **options)
    key = plain.keys[5]
    expected = passes.to_device.images(passes.pair.source.image(5)[None])[0]
    assert torch.equal(plain.read(key), expected)
    assert torch.equal(mirrored.read(key), expected.flip(-1))
    assert larger.read(key).shape == (3, 96, 128)


def test_the_source_has_labels_and_the_target_none(make_passes):
    passes = make_passes()

    def label(batch):
        assert type(batch) is Source
        return batch.label

    stored = passes.run("labels", over="source", compute=label, encoding="uint8", mirror=True)
    assert torch.equal(stored.read(stored.keys[2]), passes.pair.source.label(2).flip(-1))

    def none(batch):
        assert type(batch) is Target
        assert not hasattr(batch, "label")
        return batch.image.mean(dim=(1, 2, 3))

    passes.run("none", over="target", compute=none)
    with pytest.raises(ValueError, match='"source" or "target", not over \'validation\''):
        passes.run("x", over="validation", compute=none)


def test_an_interruption_keeps_what_is_done(make_passes, tmp_path):
    whole = make_passes(folder=tmp_path / "whole")
    whole.run("means", compute=Counted(whole), **MEANS)

    with Interrupt() as interrupt:
        passes = make_passes(folder=tmp_path / "parts", interrupt=interrupt)
        counted = Counted(passes)

        def stopped(batch):
            os.kill(os.getpid(), signal.SIGTERM)
            return counted(batch)

        with pytest.raises(Interrupted, match="SIGTERM in the pass means, 1 of 3 batches done"):
            passes.run("means", compute=stopped, **MEANS)
    assert len(counted.seen) == 1

    rest = make_passes(folder=tmp_path / "parts")
    counted = Counted(rest)
    rest.run("means", compute=counted, **MEANS)
    assert len(counted.seen) == 2
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


KILLED = """
import sys
from pathlib import Path
from tests.engine.test_passes import prepare
prepare(sys.argv[1], Path(sys.argv[2]), killed_at=2)
"""


def prepare(streets, folder, killed_at=None):
    """How many batches a pass has computed."""
    folder.mkdir(exist_ok=True)
    config = composed(*SMALL, f"dataset.root={streets}", "method=source_only")
    torch.set_num_threads(1)
    trainer, seen = build.trainer(config, build.pair(config), folder, []), []

    def compute(batch):
        seen.append(batch.key)
        if len(seen) == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return trainer.method.predict(batch.image).mean(dim=(2, 3))

    trainer.method.prepare = lambda passes: passes.run(
        "means", **MEANS, train=True, compute=compute
    )
    trainer.prepare()
    return len(seen)


def test_kill_9_in_the_middle_costs_the_batch_it_was_in(streets, tmp_path):
    build.pair(composed(*SMALL, f"dataset.root={streets}"))
    parts, whole = tmp_path / "parts", tmp_path / "whole"
    command = [sys.executable, "-c", KILLED, str(streets), str(parts)]
    assert subprocess.run(command, cwd=ROOT).returncode == -signal.SIGKILL
    assert prepare(streets, parts) == 2
    assert prepare(streets, parts) == 0
    assert prepare(streets, whole) == 3
    assert files(parts) == files(whole)


def test_a_damaged_item_alone_is_made_again(make_passes, tmp_path):
    passes = make_passes()
    artifact = passes.run("means", compute=Counted(passes), train=True, **MEANS)
    before = files(tmp_path)
    path = artifact._path(artifact.keys[3])
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    others = {p: p.stat().st_mtime_ns for p in artifact.folder.rglob("*.item") if p != path}

    counted = Counted(passes)
    passes.run("means", compute=counted, train=True, **MEANS)
    assert counted.seen == [artifact.keys[2:4]]
    assert files(tmp_path) == before
    assert {p: p.stat().st_mtime_ns for p in others} == others


def test_weights_settings_and_arguments_are_the_identity(make_passes, capsys):
    passes = make_passes()
    changes = [{}, {"batch": 3}, {"size": (64, 48)}, {"mirror": True}, {"train": True}]
    changes += [{"depends_on": {"threshold": 0.5}}]
    for change in changes:
        counted = Counted(passes)
        passes.run("means", compute=counted, **MEANS | change)
        assert counted.seen, change
    with torch.no_grad():
        next(passes.method.parameters()).add_(1)
    counted = Counted(passes)
    passes.run("means", compute=counted, **MEANS | changes[-1])
    assert counted.seen
    assert "means: weights changed; computing it again" in capsys.readouterr().out


def test_train_mode_uses_the_batch_and_leaves_no_trace(make_passes):
    passes = make_passes()
    norm = next(m for m in passes.method.modules() if isinstance(m, nn.BatchNorm2d))
    state = {name: value.clone() for name, value in passes.method.state_dict().items()}
    passes.method.eval()
    modes = []

    def compute(batch):
        modes.append(passes.method.training)
        return passes.method.predict(batch.image).mean(dim=(2, 3))

    torch.manual_seed(3)
    drawn = torch.rand(2)
    torch.manual_seed(3)
    live = passes.run("live", compute=compute, train=True, **MEANS)
    assert torch.equal(torch.rand(2), drawn)
    fixed = passes.run("fixed", compute=compute, **MEANS)
    assert modes == [True] * 3 + [False] * 3
    assert not torch.equal(live.read(live.keys[0]), fixed.read(live.keys[0]))
    assert not passes.method.training
    assert not norm.training
    for name, value in passes.method.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_workers_change_nothing(make_passes, tmp_path):
    for workers in (0, 2):
        passes = make_passes(f"trainer.workers={workers}", folder=tmp_path / str(workers))
        passes.run("means", compute=Counted(passes), **MEANS)
    assert files(tmp_path / "0") == files(tmp_path / "2")


def test_one_pass_fills_several_artifacts_and_only_what_they_lack(make_passes):
    passes = make_passes()
    soft, hard = {"encoding": "float16", "stride": 4}, {"encoding": "uint8", "kind": "label"}
    stored = {"soft": soft, "hard": hard}
    counted = Counted(passes)

    def compute(batch):
        logits = counted(batch)
        return {"soft": logits.softmax(1), "hard": {"label": logits.argmax(1)}}

    made = passes.run_all(stored, compute=compute, **MEANS)
    assert len(counted.seen) == 3
    key = made["soft"].keys[4]
    assert made["soft"].read(key).argmax() == made["hard"].read(key)["label"]
    assert (made["soft"].stride, made["hard"].kind) == (4, "label")
    shutil.rmtree(passes.folder / "hard")
    before = files(passes.folder / "soft")
    passes.run_all(stored, compute=compute, **MEANS)
    assert len(counted.seen) == 6
    assert files(passes.folder / "soft") == before


def test_a_summary_reads_the_items_in_order_once(make_passes):
    passes = make_passes()
    means = passes.run("means", compute=Counted(passes), **MEANS)
    calls = []

    def moving(items):
        calls.append(1)
        value = torch.zeros(means.read(means.keys[0]).shape)
        for item in items:
            value = 0.5 * value + item
        return value

    expected = moving(means.read(key) for key in passes.pair.target.keys)
    assert torch.equal(passes.summary("moving", moving, of=means), expected)
    assert torch.equal(passes.summary("moving", moving, of=means), expected)
    assert len(calls) == 2
    fewer = passes.summary("moving", moving, of=means, keys=means.keys[:4])
    assert not torch.equal(fewer, expected)


def test_deleted_target_labels_change_nothing(make_passes, tmp_path):
    passes = make_passes(folder=tmp_path / "labelled")
    passes.run("means", compute=Counted(passes), **MEANS)
    root = Path(passes.pair.target.images.root)
    bare = tmp_path / "Cityscapes"
    shutil.copytree(root, bare)
    shutil.rmtree(bare / "gtFine" / "train")
    other = make_passes(f"dataset.target.root={bare}", folder=tmp_path / "bare")
    other.run("means", compute=Counted(other), **MEANS)
    kept = list((tmp_path / "labelled").rglob("*.item"))
    assert len(kept) == 6
    for path in kept:
        twin = tmp_path / "bare" / path.relative_to(tmp_path / "labelled")
        assert path.read_bytes() == twin.read_bytes()


def test_progress_says_which_pass_it_is(make_passes, capsys):
    passes = make_passes()
    passes.run("means", compute=Counted(passes), **MEANS)
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "pass" in line] == ["pass means: 3/3 batches"]


def test_source_labels_are_counted_once(make_passes, monkeypatch):
    passes = make_passes()
    first = passes.source_statistics()
    label = torch.from_numpy(
        passes.pair.source.images.read_label(passes.pair.source.images.samples[0])
    )
    assert first.pixels[0].tolist() == label.flatten().bincount(minlength=256)[:19].tolist()
    monkeypatch.setattr(type(passes.pair.source.images), "read_label", None)
    again = replace(passes).source_statistics()
    assert (again.pixels == first.pixels).all()


def test_the_gate_of_caco_waits_for_classes_that_can_fill_their_queue(make_trainer):
    # Six source images: with 600 samples each is shown a hundred times.
    trainer = make_trainer("method=caco/contrast", "method.queue_length=100", "trainer.steps=300")
    trainer.prepare()
    frequent = trainer.method.queue.counted
    pixels = torch.from_numpy(scan(trainer.pair.source.images, workers=0).pixels)
    assert torch.equal(frequent, (pixels >= 64).any(dim=0))
    assert not frequent.all()


def test_a_term_that_stays_zero_is_reported(make_trainer, capsys):
    trainer = make_trainer("method=caco/contrast", "method.queue_length=100", "trainer.steps=2")
    trainer.fit(run_of(trainer))
    assert trainer.watch.zero_terms == ["loss/contrast"]
    state, trainer.watch = trainer.state_dict(), FiniteWatch(trainer.checkpoints.last)
    trainer.load_state_dict(state)
    assert trainer.watch.zero_terms == ["loss/contrast"]
    assert "loss/contrast was 0 in every step" in capsys.readouterr().out
