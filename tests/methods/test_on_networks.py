"""The adversarial and entropy methods on every kind of network their papers use."""

from __future__ import annotations

import pytest
import torch

from tests.test_laws import LIVELY
from tests.toys.networks import STEP

NETWORKS = {
    "two heads": ["model=deeplabv2_tiny"],
    "one head": ["model=deeplabv2_tiny", "model.multi_level=false"],
    "two branches": ["model=deeplabv2_tiny", "model.active_branches=2"],
    "DeepLabV3+": ["model=deeplabv3plus_tiny"],
    "VGG": ["model=vgg16_tiny"],
}


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("method", ["adaptsegnet", "advent", "minent", "maxsquare/adapt"])
def test_a_step_trains_every_head_and_discriminator(make_trainer, method, network):
    trainer = make_trainer(f"method={method}", *network, *LIVELY.get(method, []), "trainer.steps=2")
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
