"""Depthwise convolutions whose gradients are convolutions against torch's own."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import timm
import torch
from torch import Tensor, nn

from uda_hydra.benchmark.timing import Measurement, Setting, agree, side_by_side, speedup
from uda_hydra.models.depthwise import speed_up_depthwise

CPU = torch.device("cpu")


def compare(setting: Setting) -> list[Measurement]:
    """A layer of EfficientNet-Lite0 at output stride 16, and its trunk, on the CPU."""
    layer = nn.Conv2d(1152, 1152, 5, padding=4, dilation=2, groups=1152, bias=False)
    trunk = timm.create_model("tf_efficientnet_lite0", features_only=True, output_stride=16)
    width, height = (48, 32) if setting.quick else (240, 180)
    cells = torch.randn(4, 1152, height // 16 + 1, width // 16, requires_grad=True)
    crops = torch.randn(4, 3, height, width)
    return [
        _passes("dilated depthwise convolution", layer, cells, setting),
        _passes("EfficientNet-Lite0", trunk, crops, setting),
    ]


def _passes(name: str, plain: nn.Module, images: Tensor, setting: Setting) -> Measurement:
    plain = plain.to(memory_format=torch.channels_last)
    images = images.to(memory_format=torch.channels_last)
    fast = deepcopy(plain)
    speed_up_depthwise(fast)
    ours, theirs = _gradient(fast, images), _gradient(plain, images)
    agree(f"gradients of {name}", ours(), theirs(), tolerance=1e-4)
    times = side_by_side(ours, theirs, repetitions=setting.repetitions(15), device=CPU)
    note = f"forward and backward, {list(images.shape)}; always on the CPU"
    return speedup(name, times, "", note)


def _gradient(net: nn.Module, images: Tensor) -> Callable[[], Tensor]:
    """One forward and backward pass; returns the gradient of the first parameter."""
    leaves = [*net.parameters(), *([images] if images.requires_grad else [])]

    def both() -> Tensor:
        maps = net(images)
        last = maps if isinstance(maps, Tensor) else maps[-1]
        return torch.autograd.grad(last.square().mean(), leaves)[0]

    return both
