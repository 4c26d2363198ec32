"""Hidden tokens of a vision transformer, and a decoder that enlarges their grid. VFM-UDA."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from uda_hydra.models.heads import HeadOutput

EPSILON = 1e-6
"""Of timm's layer norms, and of these."""
SPREAD = 0.1
"""Standard deviation of the decoder's initial weights."""


def hide(
    tokens: Float[Tensor, "*grid d"],
    scores: Float[Tensor, "*grid"],
    mask_token: Float[Tensor, " d"],
    *,
    share: float,
) -> Float[Tensor, "*grid d"]:
    """The tokens, of which those with scores below ``share`` become ``mask_token``.

    For uniform scores in [0, 1) that is about this share of all. Position embeddings are added
    after it, as in the training of DINOv2 (Oquab et al., TMLR 2024).
    """
    return torch.where((scores < share)[..., None], mask_token.to(tokens.dtype), tokens)


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each cell of a map."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=EPSILON)

    def forward(self, x: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h w"]:
        """The map with mean 0 and variance 1 in each cell, scaled and shifted."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class EnlargingHead(nn.Module):
    """Two transposed convolutions enlarge the last map by 4; no convolution has a bias."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        half, quarter = channels // 2, channels // 4
        self.enlarge = nn.Sequential(
            nn.ConvTranspose2d(channels, half, 2, stride=2, bias=False),
            ChannelNorm(half),
            nn.GELU(),
            nn.ConvTranspose2d(half, quarter, 2, stride=2, bias=False),
            ChannelNorm(quarter),
            nn.Conv2d(quarter, quarter, 3, padding=1, bias=False),
            ChannelNorm(quarter),
        )
        self.classifier = nn.Conv2d(quarter, num_classes, 1, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, std=SPREAD)

    def forward(self, last: Float[Tensor, "b d h w"]) -> HeadOutput:
        """Logits at four times the resolution."""
        feature = self.enlarge(last)
        return HeadOutput(self.classifier(feature), feature)
