"""The decoder of AdaIN (Huang and Belongie, ICCV 2017). Used by CFContra's style transfer."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class AdainDecoder(nn.Module):
    """From VGG features at an eighth of the size (relu4_1, 512 channels) back to an RGB image."""

    widths = (512, 256, 256, 256, 256, 128, 128, 64, 64, 3)
    doubles_after = (0, 4, 6)
    """Convolutions after which the map is enlarged."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1, padding_mode="reflect")
            for before, after in pairwise(self.widths)
        )

    def forward(self, features: Float[Tensor, "b 512 h w"]) -> Float[Tensor, "b 3 h8 w8"]:
        """An image of eight times the size."""
        *convs, last = self.convs
        x = features
        for index, conv in enumerate(convs):
            x = F.relu(conv(x))
            if index in self.doubles_after:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
        return last(x)
