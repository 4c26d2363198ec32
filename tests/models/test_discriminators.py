"""Sizes of what discriminators say, and the first values of the one that has its own."""

from __future__ import annotations

import pytest
import torch

from uda_hydra.models.adain import AdainDecoder
from uda_hydra.models.discriminators import Fc3x3, FcPix2pix, MultiScale, PixelDiscriminator


@pytest.mark.parametrize(
    ("critic", "shape"),
    [
        (FcPix2pix(5, width=2), (2, 1, 2, 4)),
        (Fc3x3(5, width=2), (2, 1, 4, 8)),
        (Fc3x3(5, width=2, low=True), (2, 1, 8, 16)),
        (PixelDiscriminator(5, 3, width=4), (2, 6, 64, 128)),
    ],
)
def test_one_score_per_patch_or_cell(critic, shape):
    assert critic(torch.rand(2, 5, 64, 128)).shape == shape


def test_the_fourth_convolution_of_the_small_critic_leaks_and_the_third_does_not():
    critic = Fc3x3(1, width=1).requires_grad_(False)
    for parameter in critic.parameters():
        parameter.zero_()
    critic.classifier.weight.fill_(1.0)
    critic.convs[3].bias.fill_(-1.0)
    # Eight channels of -1, each leaking a fifth.
    assert critic(torch.zeros(1, 1, 16, 16)).item() == pytest.approx(-1.6)
    critic.convs[2].bias.fill_(-1.0)
    critic.convs[3].weight.fill_(1.0)
    assert critic(torch.zeros(1, 1, 16, 16)).item() == pytest.approx(-1.6)


def test_scales_are_the_map_its_half_and_its_quarter():
    critic = MultiScale(3)
    x = torch.rand(1, 3, 64, 128)
    scores = critic(x)
    assert [tuple(s.shape) for s in scores] == [(1, 1, 8, 16), (1, 1, 4, 8), (1, 1, 2, 4)]
    half = torch.nn.functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
    torch.testing.assert_close(scores[1], critic.scales[1](half))


def test_the_multi_scale_critic_starts_narrow():
    torch.manual_seed(0)
    for scale in MultiScale(3).scales:
        assert scale.res[0][0].weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert scale.res[0][0].bias.eq(0).all()


def test_the_decoder_enlarges_eightfold():
    assert AdainDecoder()(torch.rand(1, 512, 2, 3)).shape == (1, 3, 16, 24)
