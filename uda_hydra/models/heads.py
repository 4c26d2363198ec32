"""From features to logits: DeepLabV2's sum of dilated convolutions, and what a head returns."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn


class HeadOutput(NamedTuple):
    """Logits and, where a head has one, the feature that its last convolution classifies."""

    logits: Float[Tensor, "b k h w"]
    feature: Float[Tensor, "b d h w"] | None = None


class AsppSum(nn.Module):
    """Sum of dilated 3x3 convolutions straight to logits. DeepLabV2 (Chen et al., PAMI 2018).

    AdaptSegNet's release sums only the first two of its four branches, and its published numbers
    depend on it: ``active_branches`` is 2 there. All ``branches`` hold parameters in any case.
    """

    dilations = (6, 12, 18, 24)

    def __init__(
        self, channels: int, num_classes: int, *, active_branches: int, branches: int = 4
    ) -> None:
        super().__init__()
        if active_branches not in (2, 4):
            raise ValueError(f"model.active_branches must be 2 or 4, got {active_branches}")
        if branches not in (active_branches, 4):
            raise ValueError(
                f"model.branches must be 4, or 2 with model.active_branches=2, got {branches}"
            )
        self.branches = nn.ModuleList(
            nn.Conv2d(channels, num_classes, 3, padding=dilation, dilation=dilation)
            for dilation in self.dilations[:branches]
        )
        self.active_branches = active_branches

    def forward(self, features: Float[Tensor, "b d h w"]) -> HeadOutput:
        """Logits at feature resolution."""
        return HeadOutput(sum(branch(features) for branch in self.branches[: self.active_branches]))
