"""Every network of conf/model: tiny ones train, official ones are those of the releases."""

from __future__ import annotations

import pytest
import torch

from tests.conftest import choices, composed
from tests.toys.networks import STEP
from uda_hydra import build
from uda_hydra.engine.events import Run
from uda_hydra.errors import UserError
from uda_hydra.runs.checks import check_training

ALL = choices("model")
TINY = [name for name in ALL if name.endswith("_tiny")]
BGR = {"adaptsegnet_resnet101", "advent_resnet101", "deeplabv2_resnet101", "maxsquare_resnet101"}
BGR |= {"cfcontra_resnet101", "caco_vanilla_resnet101", "caco_vanilla_cat_resnet101"}
BGR |= {"deeplabv3plus_resnet101", "deeplabv2_vgg16", "proca_vgg16", "deeplabv2_tiny"}
BGR |= {"deeplabv3plus_tiny"}

WIDER = {"hrda_tiny": ["evaluation.size=[128,64]"]}
"""Its context branch sees half of it, and the first attention there pools by 8."""


def network(config):
    with torch.device("meta"):
        return build.build(config.model, "model", num_classes=19)


@pytest.mark.parametrize("name", TINY)
def test_every_tiny_network_takes_two_steps(make_trainer, name):
    options = [f"model={name}", "method=source_only", "trainer.steps=2"]
    trainer = make_trainer(*options, *WIDER.get(name, []))
    before = {n: p.detach().clone() for n, p in trainer.method.named_parameters()}
    trainer.fit(Run("two", trainer.folder, steps=2, start=0, config={}))
    assert trainer.done == 2
    assert 0 <= trainer.last.miou <= 1
    # All that can learn has moved; nothing is hidden here, so the mask token is not read.
    still = [n for n, p in trainer.method.named_parameters() if torch.equal(before[n], p)]
    assert not [name for name in still if not name.endswith("mask_token")]


@pytest.mark.parametrize("name", TINY)
def test_recomputed_activations_give_the_same_gradients(make_trainer, name):
    found = []
    for option in ("false", "true"):
        options = [f"model={name}", "method=source_only"]
        trainer = make_trainer(*options, f"trainer.activation_checkpointing={option}")
        torch.manual_seed(0)
        trainer.step(*next(trainer.batches()), STEP)
        found.append([p.grad for p in trainer.method.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("name", ALL)
def test_every_network_has_what_methods_and_the_trainer_read(name):
    config = composed(f"model={name}", "dataset=gta2city")
    segmenter = network(config)
    assert segmenter.num_classes == 19
    assert segmenter.feature_channels == segmenter.backbone.channels[-1]
    assert segmenter.backbone.checkpointing is False
    assert segmenter.normalization.channels == ("bgr" if name in BGR else "rgb")
    assert (config.init is None) == name.endswith("_tiny")
    groups = segmenter.parameter_groups()
    listed = [p for group in groups for p in group["params"]]
    assert len(listed) == len({*listed}) == sum(p.requires_grad for p in segmenter.parameters())


@pytest.mark.parametrize(
    ("name", "repeats", "accumulate"),
    [
        ("advent_resnet101", True, True),
        ("caco_vanilla_resnet101", True, True),
        ("adaptsegnet_resnet101", True, False),
        ("maxsquare_resnet101", True, False),
        ("cfcontra_resnet101", True, False),
        ("proda_resnet101", True, False),
        ("proca_resnet101", False, False),
        ("deeplabv3plus_resnet101", False, False),
        ("deeplabv2_resnet101", False, False),
    ],
)
def test_official_networks_repeat_their_updates_as_the_releases_do(name, repeats, accumulate):
    rates = composed(f"model={name}", "dataset=gta2city").optimizer
    assert (rates.backbone_repeats, rates.accumulate_decay) == (repeats, accumulate)
    once = composed(f"model={name}", "dataset=gta2city", "optimizer=sgd").optimizer
    assert not once.backbone_repeats


def test_vgg_has_one_rate_and_a_user_may_change_it():
    assert composed("model=deeplabv2_vgg16", "dataset=gta2city").optimizer.head_lr_factor == 1
    chosen = composed("model=deeplabv2_vgg16", "dataset=gta2city", "optimizer.head_lr_factor=3")
    assert chosen.optimizer.head_lr_factor == 3


def test_one_image_at_a_time_is_refused_before_anything_runs():
    config = composed("model=deeplabv3plus_tiny", "method=source_only", "trainer.batch_size=1")
    with pytest.raises(UserError, match=r"trainer\.batch_size=1"):
        check_training(config)
