"""What holds for every method found in conf/method, seen through the public door."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.conftest import METHODS, SMALL, composed
from uda_hydra import build
from uda_hydra.engine.events import Callback, Run
from uda_hydra.engine.interrupt import Interrupted
from uda_hydra.engine.trainer import Trainer
from uda_hydra.files import digest
from uda_hydra.methods.base import Method, Update

# What lets every term of a method come into play within six steps.
LIVELY = {
    "caco/contrast": ["method.gate=none", "method.key_threshold=0.1"],
    "maxsquare/adapt": ["method.threshold=0.1"],
    "minent": ["method.prior_strictness=0.5"],
}


def run_of(trainer):
    trainer.restore()
    steps = trainer.settings.steps
    return Run("law", trainer.folder, steps=steps, start=trainer.done, config={})


def weights(trainer):
    return {name: value.clone() for name, value in trainer.method.state_dict().items()}


def assert_identical(one, other):
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("method", METHODS)
def test_six_steps_equal_three_plus_three_resumed(make_trainer, tmp_path, method, workers):
    overrides = [f"method={method}", *LIVELY.get(method, []), "trainer.steps=6"]
    whole = make_trainer(*overrides, folder=tmp_path / "whole")
    whole.fit(run_of(whole))

    class StopAfterThree(Callback):
        def on_log(self, step, values):
            if step == 3:
                os.kill(os.getpid(), signal.SIGTERM)

    overrides += ["trainer.log_every=1", f"trainer.workers={workers}"]
    first = make_trainer(*overrides, folder=tmp_path / "parts", callbacks=[StopAfterThree()])
    with pytest.raises(Interrupted):
        first.fit(run_of(first))
    second = make_trainer(*overrides, folder=tmp_path / "parts")
    run = run_of(second)
    assert run.start == 3
    second.fit(run)

    assert_identical(weights(whole), weights(second))
    # Optimisers, step counter and scores too: the files are the same, byte for byte.
    one, other = (digest(tmp_path / name / "last.pt") for name in ("whole", "parts"))
    assert one == other


@pytest.mark.parametrize("method", METHODS)
def test_callbacks_change_nothing(make_trainer, tmp_path, method):
    class Busy(Callback):
        """Draws random numbers and keeps the evaluations busy."""

        def on_log(self, step, values):
            torch.rand(step)

        def on_evaluate(self, evaluation):
            torch.randperm(7)

    overrides = [f"method={method}", *LIVELY.get(method, []), "trainer.steps=4"]
    overrides += ["trainer.log_every=1"]
    quiet = make_trainer(*overrides, "trainer.evaluate_every=4", folder=tmp_path / "quiet")
    watched = make_trainer(
        *overrides, "trainer.evaluate_every=1", folder=tmp_path / "watched", callbacks=[Busy()]
    )
    for trainer in (quiet, watched):
        trainer.fit(run_of(trainer))
    assert_identical(weights(quiet), weights(watched))


@pytest.mark.parametrize("method", METHODS)
def test_an_update_trains_its_own_player_alone(make_trainer, method):
    trainer = make_trainer(f"method={method}", *LIVELY.get(method, []), "trainer.steps=2")
    assert_updates_stay_at_home(trainer)


def assert_updates_stay_at_home(trainer):
    """Walk the updates of one step one by one and look at every parameter's gradient."""
    source, target = next(trainer.batches())
    players = {n: {*m.parameters()} for n, m in trainer.method.players().items()}
    reached = set()
    for update in trainer.method.losses(source, target, 0.0):
        for parameter in trainer.method.parameters():
            parameter.grad = None
        trainer.backward(update)
        touched = {p for p in trainer.method.parameters() if p.grad is not None}
        assert touched <= players[update.player]
        reached.add(update.player)
    assert reached == {*players}


class Critic(Method):
    """The smallest adversarial method: one discriminator on the target's prediction."""

    terms = ("seg", "adv", "disc")

    def __init__(self, segmenter):
        super().__init__(segmenter)
        self.critic = nn.Conv2d(segmenter.num_classes, 1, 1)

    def players(self):
        return super().players() | {"critic": self.critic}

    def losses(self, source, target, progress):
        logits = self.segmenter(target.image).main
        yield Update("segmenter", seg=logits.mean(), adv=self.critic(logits).mean())
        yield Update("critic", disc=-self.critic(logits.detach()).mean())


def test_fooling_a_discriminator_cannot_train_it(make_trainer):
    base = make_trainer("method=source_only", "trainer.steps=2")
    trainer = Trainer(
        Critic(base.method.segmenter),
        base.pair,
        settings=base.settings,
        optimizer=base.rates,
        evaluation=base.protocol,
        weights={"lambda_seg": 1.0, "lambda_adv": 1.0, "lambda_disc": 1.0},
        seed=0,
        device=base.device,
        bfloat16=False,
        folder=base.folder,
    )
    assert_updates_stay_at_home(trainer)


@pytest.mark.parametrize("method", METHODS)
def test_training_never_reads_a_target_label(make_trainer, streets, tmp_path, method):
    data = build.pair(composed(*SMALL, f"dataset.root={streets}"))
    root = Path(data.target.images.root)
    bare = tmp_path / "Cityscapes"
    shutil.copytree(root, bare)
    overrides = [f"method={method}", *LIVELY.get(method, []), "trainer.steps=3"]
    labelled = make_trainer(*overrides, folder=tmp_path / "labelled")
    shutil.rmtree(bare / "gtFine" / "train")
    unlabelled = make_trainer(
        *overrides, f"dataset.target.root={bare}", folder=tmp_path / "unlabelled"
    )
    for trainer in (labelled, unlabelled):
        trainer.fit(run_of(trainer))
    assert_identical(weights(labelled), weights(unlabelled))


@pytest.mark.parametrize("method", METHODS)
def test_a_zero_weight_removes_its_term(make_trainer, method):
    config = composed(f"method={method}")
    last = [*config.loss][-1]
    trainer = make_trainer(f"method={method}", f"loss.{last}=0", "trainer.steps=1")
    real = trainer.method.losses

    def poisoned(source, target, progress):
        for update in real(source, target, progress):
            name = last.removeprefix("lambda_")
            if name in update.terms:
                update.terms[name] = update.terms[name] * float("inf")
            yield update

    trainer.method.losses = poisoned
    trainer.fit(run_of(trainer))
    assert all(p.isfinite().all() for p in trainer.method.parameters())
