"""What holds for every method found in conf/method, seen through the public door."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

from tests.conftest import CONF, METHODS, SMALL, composed
from uda_hydra import build
from uda_hydra.engine.events import Callback, Run
from uda_hydra.engine.interrupt import Interrupted
from uda_hydra.types import Step

# Both domains are cut to one size.
CUT = ["augmentation.crop=[48,32]"]
# What lets every term of a method come into play within a few steps.
LIVELY = {
    "caco/contrast": ["method.gate=none", "method.key_threshold=0.1"],
    "cfcontra/contrast": ["method.margin=0.0"],
    "maxsquare/adapt": ["method.threshold=0.1"],
    "proca/adapt": ["method.threshold=0.0"],
    "proca/memory_bank": ["method.threshold=0.0", "method.min_samples=2"],
    "sdca/adapt": ["method.threshold=0.0"],
    "minent": ["method.prior_strictness=0.5"],
    "dacs": [*CUT, "method.threshold=0.1"],
    "daformer": [*CUT, "method.threshold=0.1", "method.distance_classes=[0,1,2]"],
    "mic/daformer": [*CUT, "method.threshold=0.1", "method.distance_classes=[0,1,2]"],
    "hrda": [*CUT, "method.threshold=0.1", "method.distance_classes=[0,1,2]"],
    "mic/hrda": [
        *("augmentation.crop=[96,64]", "method.threshold=0.1"),
        *("model=hrda_tiny", "model.window=[32,32]", "evaluation.size=[128,64]"),
    ],
    "mic/dinov2": [*CUT, "method.threshold=0.1", "model=dinov2_tiny"],
}
WITH_LOSSES = [
    name for name in METHODS if "/loss: none" not in (CONF / f"method/{name}.yaml").read_text()
]
COMBINED = "adaptsegnet extra=masked"
"""Losses of one method in addition to those of another."""
SLOW_IN_WORKERS = (
    *("cbst/round", "dacs", "proca/adapt", "fda/adapt", "proda/denoise"),
    *("caco/retrain", "seg_uncertainty/rectify"),
)
IN_WORKERS = [
    ("caco/contrast", 2),
    *(pytest.param(method, 2, marks=pytest.mark.slow) for method in SLOW_IN_WORKERS),
]
"""Resumed with samples from other processes: one method of each kind of view and of stored map."""


@pytest.fixture
def made(make_trainer):
    """A trainer of a method by its name, which may be followed by further choices."""

    def make(method: str, *overrides: str, **options):
        choice = f"method={method}".split()
        return make_trainer(*choice, *LIVELY.get(method, []), *overrides, **options)

    return make


def run_of(trainer):
    trainer.prepare()
    trainer.restore()
    steps = trainer.settings.steps
    return Run("law", trainer.folder, steps=steps, start=trainer.done, config={})


@pytest.fixture(scope="module")
def unlabelled(streets, tmp_path_factory):
    """The target of the streets without a label of its training images."""
    data = build.pair(composed(*SMALL, f"dataset.root={streets}"))
    root = tmp_path_factory.mktemp("unlabelled") / "Cityscapes"
    shutil.copytree(Path(data.target.images.root), root)
    shutil.rmtree(root / "gtFine" / "train")
    return root


@pytest.mark.parametrize(
    ("method", "workers"),
    [*((method, 0) for method in (*METHODS, COMBINED)), *IN_WORKERS],
)
def test_no_interruption_callback_evaluation_or_target_label_changes_a_training(
    made, unlabelled, tmp_path, method, workers
):
    """Nor does watching it: each of its updates trains its own players alone."""
    quiet = [f"dataset.target.root={unlabelled}", "trainer.steps=3", "trainer.evaluate_every=3"]
    whole = made(method, *quiet, folder=tmp_path / "whole")
    reached = players_reached(whole)
    whole.fit(run_of(whole))
    assert reached == {*whole.players}

    class Busy(Callback):
        """Draws random numbers, and asks the training to stop after step 2."""

        def on_log(self, step, values):
            torch.rand(step)
            if step == 2:
                os.kill(os.getpid(), signal.SIGTERM)

        def on_evaluate(self, evaluation):
            torch.randperm(7)

    options = ["trainer.steps=3", "trainer.log_every=1", "trainer.evaluate_every=2"]
    first = made(method, *options, folder=tmp_path / "parts", callbacks=[Busy()])
    with pytest.raises(Interrupted):
        first.fit(run_of(first))
    options += [f"trainer.workers={workers}"]
    second = made(method, *options, folder=tmp_path / "parts", callbacks=[Busy()])
    run = run_of(second)
    assert run.start == 2
    second.fit(run)

    # Weights, optimisers and the last scores, bit for bit; which step was best depends on how
    # many were scored.
    one, other = (saved(tmp_path / name / "last.pt") for name in ("whole", "parts"))
    assert one.keys() == other.keys()
    assert not [name for name in one if not equal(one[name], other[name])]


def saved(path):
    """The values of a checkpoint by their paths."""
    state = torch.load(path, weights_only=True)
    return dict(leaves({k: v for k, v in state.items() if k not in ("best", "best_step")}))


def leaves(value, path=()):
    if isinstance(value, dict):
        for key, one in value.items():
            yield from leaves(one, (*path, key))
    elif isinstance(value, list | tuple):
        yield from leaves(dict(enumerate(value)), path)
    else:
        yield path, value


def equal(one, other):
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return one == other


def players_reached(trainer):
    """The players that updates of the training name, which fills while it trains.

    Each update trains its own players alone, also where fooling a discriminator sends a gradient
    through it.
    """
    real, reached = trainer.method.losses, set()

    def watched(*batch):
        for update in real(*batch):
            before = gradients(trainer.method)
            yield update
            # The step has gone backward when it asks for the next update.
            after = gradients(trainer.method)
            changed = {p for p in after if p not in before or not before[p].equal(after[p])}
            assert changed <= {p for name in update.players for p in trainer.players[name]}
            reached.update(update.players)

    trainer.method.losses = watched
    return reached


def gradients(module):
    return {p: p.grad.clone() for p in module.parameters() if p.grad is not None}


@pytest.mark.parametrize("method", WITH_LOSSES)
def test_a_zero_weight_removes_its_term(made, method):
    trainer = made(method, "trainer.steps=2")
    last = [*trainer.weights][-1]
    trainer.weights[last] = 0
    real = trainer.method.losses

    def poisoned(*batch):
        for update in real(*batch):
            if last in update.terms:
                update.terms[last] = update.terms[last] * float("inf")
            yield update

    trainer.method.losses = poisoned
    trainer.prepare()
    trainer.step(*next(trainer.batches()), Step(0, 0.0))
    assert all(p.isfinite().all() for p in trainer.method.parameters())
