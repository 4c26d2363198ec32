"""Sizes, names and randomness of the backbones; recomputing changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from uda_hydra.models.mit import SIZES, Attention, Block, MixTransformer
from uda_hydra.models.resnet import CAFFE, V1C, V3PLUS_8, V3PLUS_16, ResNet
from uda_hydra.models.vgg import VGG16


def resnet(layout, width=4):
    return ResNet(blocks=(1, 1, 1, 3), width=width, layout=layout)


def mit(**options):
    return MixTransformer(widths=(8, 8, 10, 16), depths=(1, 2, 1, 1), **options)


@pytest.mark.parametrize(
    ("backbone", "cells"),
    [
        (resnet(CAFFE), [(17, 33), (9, 17), (9, 17), (9, 17)]),
        (resnet(V1C), [(16, 32), (8, 16), (8, 16), (8, 16)]),
        (resnet(V3PLUS_16), [(16, 32), (8, 16), (4, 8), (4, 8)]),
        (resnet(V3PLUS_8), [(16, 32), (8, 16), (8, 16), (8, 16)]),
        (VGG16(width=4), [(32, 64), (16, 32), (8, 16), (8, 16)]),
        (mit(), [(16, 32), (8, 16), (4, 8), (2, 4)]),
    ],
)
def test_four_stages_of_the_promised_sizes(backbone, cells):
    maps = backbone(torch.rand(2, 3, 64, 128))
    assert [tuple(map.shape[2:]) for map in maps] == cells
    assert tuple(map.shape[1] for map in maps) == backbone.channels


def test_multi_grid_dilates_the_blocks_of_the_last_stage():
    for layout, expected in ((V3PLUS_16, [2, 4, 8]), (V3PLUS_8, [4, 8, 16])):
        assert [block.conv2.dilation[0] for block in resnet(layout).layer4] == expected


def test_vgg_counts_its_layers_as_torchvision_does():
    convolutions = [i for i, m in enumerate(VGG16(width=2).features) if isinstance(m, nn.Conv2d)]
    assert convolutions == [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]


def test_attention_is_the_mean_of_values_weighed_by_likeness():
    torch.manual_seed(0)
    attention = Attention(6, heads=2, reduction=2).eval()
    x = torch.randn(1, 4, 6, 6)
    tokens = x.reshape(24, 6)
    coarse = attention.norm(attention.sr(x.permute(0, 3, 1, 2)).flatten(2)[0].T)
    keys, values = attention.kv(coarse).split(6, dim=1)
    heads = []
    for part in (slice(0, 3), slice(3, 6)):
        likeness = attention.q(tokens)[:, part] @ keys[:, part].T / 3**0.5
        heads.append(likeness.softmax(dim=1) @ values[:, part])
    slow = attention.proj(torch.cat(heads, dim=1)).view(1, 4, 6, 6)
    torch.testing.assert_close(attention(x), slow, rtol=1e-4, atol=1e-5)


def test_drop_path_grows_over_the_blocks():
    blocks = [module for module in mit(drop_path=0.4).modules() if isinstance(module, Block)]
    assert [block.drop_path for block in blocks] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    with pytest.raises(ValueError, match=r"model\.drop_path"):
        mit(drop_path=1.0)


def test_drop_path_keeps_the_mean_and_is_off_in_evaluation():
    torch.manual_seed(0)
    block = Block(4, heads=1, reduction=1, drop_path=0.25)
    x = torch.ones(4000, 1, 1, 4)
    kept = block._drop_path(x)
    assert kept.unique().tolist() == pytest.approx([0, 4 / 3])
    assert kept.mean().item() == pytest.approx(1, abs=0.03)
    assert torch.equal(block.eval()._drop_path(x), x)


def test_sizes_of_the_paper():
    assert SIZES["b5"] == ((64, 128, 320, 512), (3, 6, 40, 3))
    assert [sum(size.depths) for size in SIZES.values()] == [8, 8, 16, 28, 41, 52, 4]


@pytest.mark.parametrize("make", [lambda: resnet(V1C), lambda: VGG16(width=4), mit])
def test_recomputing_changes_neither_gradients_nor_statistics(make):
    torch.manual_seed(0)
    plain = make().train()
    saving = make().train()
    saving.load_state_dict(plain.state_dict())
    saving.checkpointing = True
    image = torch.rand(2, 3, 64, 64)
    for backbone in (plain, saving):
        torch.manual_seed(1)
        sum(map.square().mean() for map in backbone(image)).backward()
    for one, other in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=0)
    for one, other in zip(plain.buffers(), saving.buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
