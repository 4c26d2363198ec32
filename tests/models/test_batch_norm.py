"""What learns and what stays under each policy."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from uda_hydra.models.batch_norm import FixedBatchNorm
from uda_hydra.models.deeplabv2 import deeplabv2
from uda_hydra.models.deeplabv2_cat import deeplabv2_cat

TINY = {"num_classes": 5, "blocks": (1, 1, 1, 1), "width": 4}


@pytest.mark.parametrize(
    ("policy", "learn", "move"),
    [
        ("trained", "all", True),
        ("affine_frozen", "none", True),
        ("stem_frozen", "blocks", True),
        ("still", "all", False),
        ("frozen", "none", False),
        ("fixed", "none", False),
    ],
)
def test_policies(policy, learn, move):
    segmenter = deeplabv2(**TINY, batch_norm=policy)
    kinds = (nn.BatchNorm2d, FixedBatchNorm)
    named = segmenter.backbone.named_modules()
    norms = {name: module for name, module in named if isinstance(module, kinds)}
    learning = {name for name, m in norms.items() if any(p.requires_grad for p in m.parameters())}
    stem = {"bn1"}
    assert learning == {"all": {*norms}, "none": set(), "blocks": {*norms} - stem}[learn]
    before = {name: module.running_mean.clone() for name, module in norms.items()}
    segmenter(torch.rand(2, 3, 33, 33))
    assert all(move != torch.equal(before[name], m.running_mean) for name, m in norms.items())


def test_the_deep_stem_is_a_stem():
    segmenter = deeplabv2(**TINY, layout="v1c", batch_norm="stem_frozen")
    frozen = {name for name, p in segmenter.named_parameters() if not p.requires_grad}
    assert frozen == {f"backbone.stem.{i}.{e}" for i in (1, 4, 7) for e in ("weight", "bias")}


def test_the_feature_norm_follows_the_policy():
    head = {"branch_channels": 32, "head_channels": 32, "feat_norm": True}
    frozen = deeplabv2_cat(**TINY, **head, batch_norm="frozen").train()
    assert not frozen.feat_norm.training
    assert not any(p.requires_grad for p in frozen.feat_norm.parameters())
    assert all(p.requires_grad for p in deeplabv2_cat(**TINY, **head).feat_norm.parameters())


def test_fixed_batch_norm_counts_no_batches_and_is_an_affine_map():
    norm = FixedBatchNorm(1)
    assert {*norm.state_dict()} == {"weight", "bias", "running_mean", "running_var"}
    norm.weight.fill_(3.0)
    norm.bias.fill_(1.0)
    norm.running_mean.fill_(2.0)
    norm.running_var.fill_(4.0)
    # 3 * (6 - 2) / 2 + 1
    assert norm(torch.full((1, 1, 1, 1), 6.0)).item() == pytest.approx(7)
