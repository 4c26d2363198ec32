"""Discriminators of the field's releases: which domain does a map come from?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

SLOPE = 0.2
"""Slope of every leaky ReLU below zero."""


class FcPix2pix(nn.Module):
    """Five strided convolutions. AdaptSegNet, ADVENT, CFContra and ProCA's baselines."""

    def __init__(self, channels: int, *, width: int = 64) -> None:
        super().__init__()
        widths = [channels, width, 2 * width, 4 * width, 8 * width]
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 4, stride=2, padding=1) for before, after in pairwise(widths)
        )
        self.classifier = nn.Conv2d(widths[-1], 1, 4, stride=2, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 h2 w2"]:
        """One logit per patch."""
        for conv in self.convs:
            x = F.leaky_relu(conv(x), SLOPE)
        return self.classifier(x)


class PerHead(nn.ModuleDict):
    """One discriminator for each head of a segmenter, by the head's name."""

    def __init__(self, segmenter: nn.Module, discriminator: Callable[[], nn.Module]) -> None:
        heads = ["main"] if segmenter.aux_head is None else ["main", "aux"]
        super().__init__({head: discriminator() for head in heads})

    def forward(self, views: Mapping[str, Float[Tensor, "b c _ _"]]) -> dict[str, Tensor]:
        """The scores of each head's view."""
        return {head: self[head](view) for head, view in views.items()}


class Fc3x3(nn.Module):
    """Four strided 3x3 convolutions and a 1x1; ``low`` omits the fourth. Used by ProDA."""

    def __init__(self, channels: int, *, width: int = 64, low: bool = False) -> None:
        super().__init__()
        widths = [channels, width, 2 * width, 4 * width, 8 * width][: 4 if low else 5]
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1) for before, after in pairwise(widths)
        )
        self.classifier = nn.Conv2d(widths[-1], 1, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 h2 w2"]:
        """One logit per patch."""
        *convs, last = self.convs
        for conv in convs:
            x = F.relu(conv(x))
        return self.classifier(F.leaky_relu(last(x), SLOPE))


class PixelDiscriminator(nn.Module):
    """Domain and class of every cell at once: first the source's classes, then the target's.

    FADA's (Wang et al., ECCV 2020).
    """

    def __init__(self, channels: int, num_classes: int, *, width: int = 256) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width // 2, 3, padding=1)
        self.src = nn.Conv2d(width // 2, num_classes, 3, padding=1)
        self.tgt = nn.Conv2d(width // 2, num_classes, 3, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k h w"]:
        """Logits of twice the number of classes."""
        x = F.leaky_relu(self.conv1(x), SLOPE)
        x = F.leaky_relu(self.conv2(x), SLOPE)
        return torch.cat([self.src(x), self.tgt(x)], dim=1)


class MultiScale(nn.Module):
    """Three equal discriminators on the map, its half and its quarter.

    Used by CaCo's vanilla release.
    """

    def __init__(self, channels: int, *, width: int = 32, scales: int = 3) -> None:
        super().__init__()
        self.scales = nn.ModuleList(OneScale(channels, width) for _ in range(scales))
        self.shrink = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, x: Float[Tensor, "b c h w"]) -> list[Tensor]:
        """One map of scores per scale, the finest first."""
        scores = []
        for index, scale in enumerate(self.scales):
            x = self.shrink(x) if index else x
            scores.append(scale(x))
        return scores


class OneScale(nn.Module):
    """Five convolutions, four residual blocks and a 1x1. Used by ``MultiScale``."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        plan = ((width, 2), (width, 1), (width, 2), (width, 1), (2 * width, 2))
        self.down = nn.ModuleList()
        for out, stride in plan:
            self.down.append(nn.Conv2d(channels, out, 3, stride=stride, padding=1))
            channels = out
        pairs = ([nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2)] for _ in range(4))
        self.res = nn.ModuleList(nn.ModuleList(pair) for pair in pairs)
        self.out = nn.Conv2d(channels, 1, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 h2 w2"]:
        """The scores of this scale."""
        for conv in self.down:
            x = F.leaky_relu(conv(x), SLOPE)
        for first, second in self.res:
            x = x + second(F.leaky_relu(first(x), SLOPE))
        return self.out(x)
