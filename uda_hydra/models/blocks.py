"""Small modules that several networks share."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class ConvNorm(nn.Module):
    """A convolution that keeps the size, a norm and, unless ``relu`` is off, a ReLU."""

    def __init__(
        self,
        channels: int,
        out: int,
        kernel: int = 1,
        *,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
        relu: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            channels,
            out,
            kernel,
            padding=dilation * (kernel // 2),
            dilation=dilation,
            groups=groups,
            bias=bias,
        )
        self.norm = norm(out)
        self.relu = nn.ReLU(inplace=True) if relu else nn.Identity()

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """The normalised map."""
        return self.relu(self.norm(self.conv(x)))


class PixelLinear(nn.Linear):
    """One linear layer for all pixels; its weight has two dimensions, as official files have it."""

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """The map with new channels."""
        return F.conv2d(x, self.weight[..., None, None], self.bias)
