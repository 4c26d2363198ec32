"""What the Trainer's options promise."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from tests.conftest import ROOT
from tests.toys.networks import STEP
from uda_hydra.engine import trainer as trainer_module
from uda_hydra.engine.batches import DeviceBatches, split
from uda_hydra.engine.events import Callback, Run
from uda_hydra.errors import Stopped
from uda_hydra.studies.pruning import Pruned
from uda_hydra.types import Mirror, Normalization, Source, Target, View


def gradients(trainer):
    source, target = next(trainer.batches())
    torch.manual_seed(0)
    trainer.step(source, target, STEP)
    return {n: p.grad.clone() for n, p in trainer.method.named_parameters() if p.grad is not None}


def statistics(trainer):
    return {n: b.clone() for n, b in trainer.method.named_buffers() if "running" in n}


def test_activation_checkpointing_changes_no_gradient_and_no_statistic(make_trainer):
    plain = make_trainer("method=caco/contrast")
    saving = make_trainer("method=caco/contrast", "trainer.activation_checkpointing=true")
    assert saving.method.segmenter.backbone.checkpointing
    torch.testing.assert_close(gradients(plain), gradients(saving), rtol=0, atol=0)
    torch.testing.assert_close(statistics(plain), statistics(saving), rtol=0, atol=0)


def test_accumulated_parts_add_up_to_the_mean_of_their_gradients(make_trainer):
    options = ["method=source_only", "method.channel_shuffle=none", "optimizer.lr=1e-9"]
    whole = make_trainer(*options, "trainer.accumulate=2")
    source, target = next(whole.batches())
    parts = []
    for part in split(source, target, 2):
        single = make_trainer(*options)
        single.step(*part, STEP)
        parts.append({n: p.grad for n, p in single.method.named_parameters()})
    whole.step(source, target, STEP)
    for name, parameter in whole.method.named_parameters():
        mean = (parts[0][name] + parts[1][name]) / 2
        torch.testing.assert_close(parameter.grad, mean, rtol=1e-4, atol=1e-6)


def test_the_teacher_follows_once_a_step_however_many_parts(make_trainer):
    trainer = make_trainer("method=caco/contrast", "trainer.accumulate=2")
    followed = []
    trainer.method.teacher.follow = lambda student, **_: followed.append(student)
    trainer.step(*next(trainer.batches()), STEP)
    assert followed == [trainer.method.segmenter]


class Ends(Callback):
    """Notes how a training ends; ``stop`` ends it at its first evaluation."""

    def __init__(self, stop: Exception | None = None) -> None:
        self.stop = stop
        self.seen: list[str] = []

    def on_evaluate(self, evaluation):
        if self.stop is not None:
            raise self.stop

    def on_end(self, status):
        self.seen.append(status)


def test_callbacks_get_how_a_training_ended_after_its_result(make_trainer, tmp_path):
    run = Run("ends", tmp_path, steps=1, start=0, config={})
    ends = Ends()
    trainer = make_trainer("method=source_only", "trainer.steps=1", callbacks=[ends])
    trainer.fit(run, lambda: ends.seen.append("result"))
    assert ends.seen == ["result", "finished"]
    for stop, status in ((Pruned(""), "pruned"), (Stopped(""), "interrupted")):
        ends.seen, ends.stop = [], stop
        trainer.done = 0
        with pytest.raises(Stopped):
            trainer.fit(run, lambda: ends.seen.append("result"))
        assert ends.seen == [status]


class Speeds(Callback):
    """Notes the speed of every log."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_log(self, step, values):
        self.seen.append(values["speed/steps_per_second"])


def test_speed_counts_neither_evaluations_nor_saves(make_trainer, tmp_path, monkeypatch):
    seconds = 0.0

    def lasting(duration):
        def work(*arguments):
            nonlocal seconds
            seconds += duration
            return {}

        return work

    speeds = Speeds()
    often = [f"trainer.{what}_every=1" for what in ("log", "evaluate", "save")]
    trainer = make_trainer("method=source_only", "trainer.steps=3", *often, callbacks=[speeds])
    monkeypatch.setattr(trainer_module, "time", SimpleNamespace(perf_counter=lambda: seconds))
    for name, duration in (("step", 0.5), ("evaluate", 60.0), ("save", 60.0)):
        monkeypatch.setattr(trainer, name, lasting(duration))
    trainer.fit(Run("speed", tmp_path, steps=3, start=0, config={}))
    assert speeds.seen == [2.0, 2.0, 2.0]


def test_split_keeps_samples_together():
    image = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 2, 2)
    source = Source(image, image[:, 0].long(), ("a", "b", "c", "d"))
    parts = [*split(source, Target(image, ("e", "f", "g", "h")), 2)]
    assert [part[0].key for part in parts] == [("a", "b"), ("c", "d")]
    assert [part[1].key for part in parts] == [("e", "f"), ("g", "h")]
    assert [part[0].image[:, 0, 0, 0].tolist() for part in parts] == [[0, 1], [2, 3]]
    assert [part[0].label[:, 0, 0].tolist() for part in parts] == [[0, 1], [2, 3]]


def test_every_field_of_a_batch_reaches_the_method_and_its_part():
    image = torch.arange(2, dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 2, 2)
    views = View((2, 2)), View((2, 2), (Mirror(),))
    source = Source(image, image[:, 0], ["a", "b"], views)
    stored = {"soft": torch.tensor([[0.25], [0.75]])}
    target = Target(image, ["c", "d"], views, image + 2, views[::-1], image + 4, stored)
    doubled = Normalization("rgb", 2.0, (0.0,) * 3, (1.0,) * 3)

    source, target = DeviceBatches(doubled, torch.device("cpu"), torch.contiguous_format)(
        source, target
    )
    assert source.label.dtype == torch.long
    first, second = split(source, target, 2)
    assert (first[0].view, second[0].view) == ((views[0],), (views[1],))
    assert (second[1].view, second[1].strong_view) == ((views[1],), (views[0],))
    for field, values in (("image", (0, 2)), ("strong", (4, 6)), ("whole", (8, 10))):
        for (_, part), value in zip((first, second), values, strict=True):
            assert getattr(part, field).eq(value).all()
    assert [part.stored["soft"].item() for _, part in (first, second)] == [0.25, 0.75]
    bare = Target(image, ("c", "d"))
    assert [part.strong for _, part in split(source, bare, 2)] == [None, None]


def test_channels_last_changes_the_layout_and_not_the_numbers(make_trainer):
    plain, other = (
        make_trainer("method=source_only", f"trainer.channels_last={flag}")
        for flag in ("false", "true")
    )
    image = next(other.batches())[0].image
    assert image.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(gradients(plain), gradients(other), rtol=1e-3, atol=1e-4)


def test_fused_updates_are_the_same_updates(make_trainer):
    weights = []
    for flag in ("false", "true"):
        trainer = make_trainer("method=source_only", f"optimizer.fused={flag}")
        trainer.step(*next(trainer.batches()), STEP)
        weights.append([p.detach().clone() for p in trainer.method.parameters()])
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-6, atol=1e-7)


COMPILED = """
import sys
from pathlib import Path
import torch
from tests.conftest import SMALL, composed
from tests.engine.test_trainer import gradients
from uda_hydra import build

both = []
for flag in ("false", "true"):
    options = ("method=source_only", f"trainer.compile={flag}", f"dataset.root={sys.argv[1]}")
    config = composed(*SMALL, *options)
    both.append(build.trainer(config, build.pair(config), Path(sys.argv[1]), []))
plain, compiled = both
assert plain.method.state_dict().keys() == compiled.method.state_dict().keys()
torch.testing.assert_close(gradients(plain), gradients(compiled), rtol=1e-3, atol=1e-4)
"""


@pytest.mark.slow
def test_a_compiled_segmenter_learns_the_same(streets):
    # In a process of its own: torch cannot compile the shape checks of the test run.
    command = [sys.executable, "-c", COMPILED, str(streets)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_strict_determinism_is_asked_of_torch(make_trainer):
    try:
        make_trainer("method=source_only", "trainer.deterministic=strict")
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        make_trainer("method=source_only")
    assert not torch.are_deterministic_algorithms_enabled()
