"""From features to logits."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class AsppSum(nn.Module):
    """Sum of dilated 3x3 convolutions straight to logits. DeepLabV2 (Chen et al., PAMI 2018).

    AdaptSegNet's release sums only the first two of its four branches, and its published numbers
    depend on it: ``active_branches`` is 2 there. All four hold parameters in any case.
    """

    dilations = (6, 12, 18, 24)

    def __init__(self, channels: int, num_classes: int, *, active_branches: int) -> None:
        super().__init__()
        if active_branches not in (2, 4):
            raise ValueError(f"model.active_branches must be 2 or 4, got {active_branches}")
        self.branches = nn.ModuleList(
            nn.Conv2d(channels, num_classes, 3, padding=dilation, dilation=dilation)
            for dilation in self.dilations
        )
        self.active_branches = active_branches

    def forward(self, features: Float[Tensor, "b d h w"]) -> Float[Tensor, "b k h w"]:
        """Logits at feature resolution."""
        return sum(branch(features) for branch in self.branches[: self.active_branches])
