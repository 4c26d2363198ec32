"""Wide and dilated depthwise convolutions, whose backward pass torch is slow at on a CPU."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.layers import Conv2dSame
from timm.layers.padding import pad_same
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn.grad import conv2d_input


class Geometry(NamedTuple):
    """Height and width of what a convolution is called with, in the order of its arguments."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]


class DepthwiseConv2d(nn.Conv2d):
    """A convolution with one kernel a channel; the numbers are those of ``torch.nn.Conv2d``.

    On a CPU, torch's own backward pass takes three to twelve times as long with 5x5 or dilated
    kernels. Other devices, and autocast, have torch's own.
    """

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c i j"]:
        """The map, each channel convolved with its own kernel."""
        if not _gains(x):
            return super().forward(x)
        geometry = Geometry(self.stride, self.padding, self.dilation)
        return _Depthwise.apply(x, self.weight, self.bias, geometry)


class DepthwiseConv2dSame(Conv2dSame):
    """The same with TensorFlow's padding."""

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c i j"]:
        """The map, at one cell of every ``stride``."""
        if not _gains(x):
            return super().forward(x)
        x = pad_same(x, self.kernel_size, self.stride, self.dilation)
        geometry = Geometry(self.stride, self.padding, self.dilation)
        return _Depthwise.apply(x, self.weight, self.bias, geometry)


FAST = {nn.Conv2d: DepthwiseConv2d, Conv2dSame: DepthwiseConv2dSame}


def speed_up_depthwise(net: nn.Module) -> None:
    """Give the depthwise convolutions of a finished network that gain by it the class for a CPU."""
    for module in net.modules():
        if type(module) not in FAST:
            continue
        depthwise = 1 < module.groups == module.in_channels == module.out_channels
        wide = max(module.kernel_size) > 3 or max(module.dilation) > 1
        zeros_around = module.padding_mode == "zeros" and not isinstance(module.padding, str)
        if depthwise and wide and zeros_around:
            module.__class__ = FAST[type(module)]


def _gains(x: Tensor) -> bool:
    """Whether torch's own backward pass would be slow."""
    return x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")


class _Depthwise(torch.autograd.Function):
    """Both gradients are depthwise convolutions themselves."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        geometry: Geometry,
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        return F.conv2d(x, weight, bias, *geometry, groups=len(weight))

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        return (
            _for_input(x, weight, gradient, ctx.geometry) if wanted[0] else None,
            _for_weight(x, weight, gradient, ctx.geometry) if wanted[1] else None,
            gradient.sum((0, 2, 3)) if wanted[2] else None,
            None,
        )


def _for_input(x: Tensor, weight: Tensor, gradient: Tensor, geometry: Geometry) -> Tensor:
    """The gradient of the output, convolved with the kernels turned by half a circle."""
    groups, (stride, padding, dilation) = len(weight), geometry
    sides = zip(weight.shape[2:], padding, dilation, strict=True)
    around = [step * (side - 1) - before for side, before, step in sides]
    if max(stride) > 1 or min(around) < 0:
        return conv2d_input(x.shape, weight, gradient, *geometry, groups)
    return F.conv2d(gradient, weight.flip(2, 3), None, 1, around, dilation, groups)


def _for_weight(x: Tensor, weight: Tensor, gradient: Tensor, geometry: Geometry) -> Tensor:
    """The input, convolved with the gradient of the output: each channel of each image alone."""
    batch, channels, *size = x.shape
    maps = batch * channels
    kernels = gradient.reshape(maps, 1, *gradient.shape[2:])
    # The taps of the kernel are what the output's gradient moves over: stride and dilation swap.
    stride, padding, dilation = geometry
    taps = F.conv2d(x.reshape(1, maps, *size), kernels, None, dilation, padding, stride, maps)
    height, width = weight.shape[2:]
    taps = taps[..., :height, :width].reshape(batch, channels, height, width)
    return taps.sum(0).unsqueeze(1)
