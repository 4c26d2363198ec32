"""Sizes, strides and dilations of the network, what trains in it and how it begins."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from uda_hydra.models.deeplabv2 import deeplabv2
from uda_hydra.models.heads import AsppSum
from uda_hydra.models.resnet import CAFFE, TORCHVISION, Bottleneck, ResNet


def tiny(**options: object):
    return deeplabv2(**({"num_classes": 5, "blocks": (1, 1, 1, 1), "width": 4} | options))


@pytest.mark.parametrize(
    ("layout", "size", "cells"),
    [
        ("caffe", (64, 128), (9, 17)),
        ("torchvision", (64, 128), (8, 16)),
        ("caffe", (65, 129), (9, 17)),
        ("torchvision", (65, 129), (9, 17)),
    ],
)
def test_both_heads_and_the_features_are_at_an_eighth(layout, size, cells):
    main, aux, features, *_ = tiny(layout=layout)(torch.rand(2, 3, *size))
    assert main.shape == aux.shape == (2, 5, *cells)
    assert features.shape == (2, 4 * 8 * 4, *cells)


def test_single_level_has_no_auxiliary_output():
    segmenter = tiny(multi_level=False)
    assert segmenter(torch.rand(2, 3, 33, 33)).aux is None
    assert not any(name.startswith("aux_head") for name in segmenter.state_dict())


def test_attributes_that_methods_read():
    segmenter = tiny(normalization="unit")
    assert (segmenter.num_classes, segmenter.feature_channels) == (5, 128)
    assert segmenter.normalization.channels == "rgb"
    assert tiny().normalization.channels == "bgr"


def strides_and_dilations(layout) -> list[tuple[int, int, int]]:
    """Stride of the first and second, dilation of the second convolution of every block."""
    network = ResNet(blocks=(2, 2, 2, 2), width=2, layout=layout)
    blocks = [module for module in network.modules() if isinstance(module, Bottleneck)]
    return [(b.conv1.stride[0], b.conv2.stride[0], b.conv2.dilation[0]) for b in blocks]


def test_caffe_family_strides_in_the_first_convolution():
    assert strides_and_dilations(CAFFE) == [
        *[(1, 1, 1), (1, 1, 1), (2, 1, 1), (1, 1, 1)],
        *[(1, 1, 2), (1, 1, 2), (1, 1, 4), (1, 1, 4)],
    ]


def test_torchvision_family_strides_in_the_second_and_dilates_a_block_later():
    assert strides_and_dilations(TORCHVISION) == [
        *[(1, 1, 1), (1, 1, 1), (1, 2, 1), (1, 1, 1)],
        *[(1, 1, 1), (1, 1, 2), (1, 1, 2), (1, 1, 4)],
    ]


@pytest.mark.parametrize("active", [2, 4])
def test_aspp_sums_its_active_branches_and_holds_all_four(active):
    head = AsppSum(3, 2, active_branches=active)
    features = torch.rand(1, 3, 7, 9)
    slow = torch.zeros(1, 2, 7, 9)
    for branch, dilation in list(zip(head.branches, (6, 12, 18, 24), strict=True))[:active]:
        slow += nn.functional.conv2d(
            features, branch.weight, branch.bias, padding=dilation, dilation=dilation
        )
    torch.testing.assert_close(head(features).logits, slow)
    head(features).logits.sum().backward()
    assert [branch.weight.grad is not None for branch in head.branches] == [
        index < active for index in range(4)
    ]


def test_frozen_affine_keeps_batch_statistics():
    segmenter = tiny().train()
    norms = [m for m in segmenter.modules() if isinstance(m, nn.BatchNorm2d)]
    assert not any(p.requires_grad for norm in norms for p in norm.parameters())
    before = norms[0].running_mean.clone()
    segmenter(torch.rand(2, 3, 33, 33))
    assert not torch.equal(norms[0].running_mean, before)
    assert all(p.requires_grad for p in tiny(batch_norm="trained").parameters())


@pytest.mark.parametrize(("batch_norm", "tensors"), [("affine_frozen", 1), ("trained", 3)])
def test_groups_hold_every_trainable_parameter_once(batch_norm, tensors):
    segmenter = tiny(batch_norm=batch_norm, blocks=(1, 2, 1, 1))
    backbone, heads = segmenter.parameter_groups()
    assert (backbone["name"], heads["name"]) == ("backbone", "heads")
    listed = backbone["params"] + heads["params"]
    trainable = [p for p in segmenter.parameters() if p.requires_grad]
    assert len(listed) == len({id(p) for p in listed}) == len(trainable)
    assert len(heads["params"]) == 16 and heads["repeats"] == [1] * 16
    # Tensors of a convolution with its norm: stem, three in each of 5 blocks, 4 shortcuts.
    counts = [backbone["repeats"].count(n) for n in (1, 3, 4)]
    assert counts == [tensors, 15 * tensors, 4 * tensors]


def test_official_start_is_a_narrow_gaussian_and_he_keeps_the_signal():
    torch.manual_seed(0)
    official = deeplabv2(num_classes=5, blocks=(1, 1, 1, 1), width=16)
    for conv in (official.backbone.layer4[0].conv2, official.main_head.branches[3]):
        assert conv.weight.std().item() == pytest.approx(0.01, rel=0.05)
    he = deeplabv2(num_classes=5, blocks=(1, 1, 1, 1), width=16, initialization="he")
    conv = he.backbone.layer4[0].conv2
    assert conv.weight.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.05)


@pytest.mark.parametrize(
    ("option", "value", "key"),
    [
        ("blocks", (1, 1, 1), "model.blocks"),
        ("width", 0, "model.width"),
        ("layout", "cafe", "model.layout"),
        ("initialization", "xavier", "model.initialization"),
        ("active_branches", 3, "model.active_branches"),
        ("normalization", "bgr", "model.normalization"),
    ],
)
def test_errors_name_the_key(option, value, key):
    with pytest.raises(ValueError, match=key):
        tiny(**{option: value})
