"""Depthwise convolutions have torch's numbers, forwards and backwards."""

from __future__ import annotations

import pytest
import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn

from uda_hydra.models.depthwise import FAST, DepthwiseConv2d, speed_up_depthwise


def gradients(convolution: nn.Module, x: Tensor, weighting: Tensor) -> list[Tensor]:
    """The output, and the gradients of the input and of every parameter."""
    y = convolution(x)
    return [y, *torch.autograd.grad((y * weighting).sum(), [x, *convolution.parameters()])]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, (3, 5)])
@pytest.mark.parametrize("kind", [nn.Conv2d, Conv2dSame])
def test_numbers_are_those_of_torch(kind, kernel, stride, dilation, bias):
    torch.manual_seed(0)
    options = {"stride": stride, "dilation": dilation, "groups": 6, "bias": bias}
    theirs = kind(6, 6, kernel, padding=2 * dilation, dtype=torch.float64, **options)
    ours = kind(6, 6, kernel, padding=2 * dilation, dtype=torch.float64, **options)
    ours.load_state_dict(theirs.state_dict())
    ours.__class__ = FAST[kind]
    for size in ((14, 17), (15, 18)):
        x = torch.randn(3, 6, *size, dtype=torch.float64, requires_grad=True)
        weighting = torch.randn_like(theirs(x))
        for got, wanted in zip(
            gradients(ours, x, weighting), gradients(theirs, x, weighting), strict=True
        ):
            torch.testing.assert_close(got, wanted)


def test_more_padding_than_the_kernel_reaches():
    torch.manual_seed(0)
    theirs = nn.Conv2d(4, 4, 3, padding=5, groups=4, dtype=torch.float64)
    x = torch.randn(2, 4, 6, 7, dtype=torch.float64, requires_grad=True)
    weighting = torch.randn_like(theirs(x))
    wanted = gradients(theirs, x, weighting)
    theirs.__class__ = DepthwiseConv2d
    for got, want in zip(gradients(theirs, x, weighting), wanted, strict=True):
        torch.testing.assert_close(got, want)


def test_only_wide_and_dilated_depthwise_convolutions_change():
    stay = nn.Sequential(
        nn.Conv2d(4, 4, 5),
        nn.Conv2d(4, 4, 5, groups=2),
        nn.Conv2d(4, 8, 5, groups=4),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Conv2d(4, 4, 5, groups=4, padding="same"),
        nn.Conv2d(4, 4, 5, groups=4, padding=2, padding_mode="reflect"),
    )
    change = nn.Sequential(nn.Conv2d(4, 4, 5, groups=4), nn.Conv2d(4, 4, 3, dilation=2, groups=4))
    speed_up_depthwise(nn.Sequential(stay, change))
    assert {type(module) for module in stay} == {nn.Conv2d}
    assert {type(module) for module in change} == {DepthwiseConv2d}


def test_mixed_precision_is_left_to_torch():
    convolution = DepthwiseConv2d(4, 4, 3, padding=1, groups=4)
    with torch.autocast("cpu", torch.bfloat16):
        y = convolution(torch.randn(2, 4, 6, 6))
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert convolution.weight.grad.dtype == torch.float32
