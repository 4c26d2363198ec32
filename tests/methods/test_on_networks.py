"""The adversarial and entropy methods on every kind of network their papers use."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from tests.test_laws import LIVELY
from tests.toys.networks import STEP

# AdaptSegNet is AdvEnt with another view of the prediction.
METHODS = ("advent", "minent", "maxsquare/adapt")
NETWORKS = {
    "two heads": ["model=deeplabv2_tiny"],
    "one head": ["model=deeplabv2_tiny", "model.multi_level=false"],
    "DeepLabV3+": ["model=deeplabv3plus_tiny"],
    "VGG": ["model=vgg16_tiny"],
    "two branches": ["model=deeplabv2_tiny", "model.active_branches=2"],
}


@pytest.mark.parametrize(
    ("method", "network"),
    [
        # What has two branches has two heads, too.
        ("advent", "two branches"),
        *product(METHODS[1:], ["two heads"]),
        *product(METHODS, ["one head", "DeepLabV3+", "VGG"]),
    ],
)
def test_a_step_trains_every_head_and_discriminator(make_trainer, method, network):
    options = [*NETWORKS[network], *LIVELY.get(method, []), "trainer.steps=2"]
    trainer = make_trainer(f"method={method}", *options)
    trainer.prepare()
    heads = {"main_head", "aux_head"} if trainer.method.segmenter.aux_head else {"main_head"}
    before = {name: p.detach().clone() for name, p in trainer.method.named_parameters()}
    trainer.step(*next(trainer.batches()), STEP)
    after = dict(trainer.method.named_parameters())
    for head in heads:
        assert moved(before, after, f"segmenter.{head}")
    discriminators = "discriminators" in trainer.method.players()
    assert discriminators == moved(before, after, "discriminators")
    assert all(p.isfinite().all() for p in after.values())


def moved(before, after, prefix):
    return any(
        not torch.equal(before[name], p) for name, p in after.items() if name.startswith(prefix)
    )
