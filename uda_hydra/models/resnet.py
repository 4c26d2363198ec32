"""Residual networks of bottleneck blocks, dilated for segmentation. He et al., CVPR 2016."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

EXPANSION = 4
"""A block's output is this many times wider than its inner convolutions."""


class Layout(NamedTuple):
    """Where a family of ResNets strides and dilates."""

    ceil_mode: bool
    """Round the size after max pooling up: 8n input pixels give n + 1 cells, corners aligned."""
    stride_in_first: bool
    """The stride sits in a block's first 1x1 convolution, not in its 3x3."""
    strides: tuple[int, int, int, int]
    """Of the first block of each stage."""
    dilations: tuple[tuple[int, ...], ...]
    """Of the blocks of each stage in order; the last entry serves all later blocks."""


CAFFE = Layout(True, True, strides=(1, 2, 1, 1), dilations=((1,), (1,), (2,), (4,)))
"""AdaptSegNet, ADVENT, CaCo, ProDA."""
TORCHVISION = Layout(False, False, strides=(1, 2, 1, 1), dilations=((1,), (1,), (1, 2), (2, 4)))
"""ProCA."""


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut."""

    def __init__(
        self, channels: int, width: int, *, first: bool, stride: int, dilation: int, layout: Layout
    ) -> None:
        super().__init__()
        early, late = (stride, 1) if layout.stride_in_first else (1, stride)
        out = width * EXPANSION
        self.conv1 = nn.Conv2d(channels, width, 1, stride=early, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(
            width, width, 3, stride=late, padding=dilation, dilation=dilation, bias=False
        )
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if first:
            shortcut = nn.Conv2d(channels, out, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(out))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        """The block's output after its last ReLU."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """Stem and four stages, named as in torchvision; ``width`` is the stem's."""

    def __init__(self, *, blocks: Sequence[int], width: int, layout: Layout) -> None:
        super().__init__()
        if len(blocks) != 4 or min(blocks) < 1:
            raise ValueError(f"model.blocks must be four positive numbers, got {list(blocks)}")
        if width < 1:
            raise ValueError(f"model.width must be positive, got {width}")
        self.channels = tuple(width * 2**stage * EXPANSION for stage in range(4))
        """Output channels of the stages."""
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=layout.ceil_mode)
        before = (width, *self.channels)
        stages = [
            _stage(
                before[i], width * 2**i, blocks[i], layout.strides[i], layout.dilations[i], layout
            )
            for i in range(4)
        ]
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.checkpointing = False
        """Recompute each block in the backward pass instead of storing its activations."""

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The maps of the four stages."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(image))))
        first = self._stage(self.layer1, x)
        second = self._stage(self.layer2, first)
        third = self._stage(self.layer3, second)
        return first, second, third, self._stage(self.layer4, third)

    def _stage(
        self, stage: nn.Sequential, x: Float[Tensor, "b c h w"]
    ) -> Float[Tensor, "b d h2 w2"]:
        if self.checkpointing and torch.is_grad_enabled():
            for block in stage:
                x = recomputed(block, x)
            return x
        return stage(x)

    def repeats(self, name: str) -> int:
        """How often the releases' optimiser lists the parameter ``name``.

        Their Caffe-style loop walks modules inside modules, so a block's parameters come three
        times, a shortcut's four times and the stem's once.
        """
        if not name.startswith("layer"):
            return 1
        return 4 if ".downsample." in name else 3


def recomputed(block: nn.Module, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
    """``block(x)`` that stores its input alone and is computed again for the backward pass."""

    @contextmanager
    def statistics_stay() -> Iterator[None]:
        # The second pass sees the same batch again, which must not count twice.
        norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d) and m.training]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 0.0
        try:
            yield
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
                norm.num_batches_tracked -= 1

    return checkpoint(
        block,
        x,
        use_reentrant=False,
        preserve_rng_state=False,
        context_fn=lambda: (nullcontext(), statistics_stay()),
    )


def _stage(
    channels: int, width: int, blocks: int, stride: int, dilations: tuple[int, ...], layout: Layout
) -> nn.Sequential:
    stage = []
    for i in range(blocks):
        block = Bottleneck(
            channels,
            width,
            first=i == 0,
            stride=stride if i == 0 else 1,
            dilation=dilations[min(i, len(dilations) - 1)],
            layout=layout,
        )
        stage.append(block)
        channels = width * EXPANSION
    return nn.Sequential(*stage)
