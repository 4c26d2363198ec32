"""The head of ProDA: dilated branches, concatenated, reweighted and fused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from uda_hydra.models.blocks import ConvNorm
from uda_hydra.models.heads import HeadOutput

NORMS: dict[str, Callable[[int], nn.Module]] = {
    "group": partial(nn.GroupNorm, 32),
    "batch": nn.BatchNorm2d,
}
"""What ``model.head_norm`` may name."""


class SqueezeExcite(nn.Module):
    """Scales every channel by a number in (0, 1) made from all channel means. Hu et al., 2018."""

    def __init__(self, channels: int, *, reduction: int = 16) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, channels // reduction)
        self.fc2 = nn.Linear(channels // reduction, channels)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The map with its channels scaled."""
        scale = self.fc2(F.relu(self.fc1(x.mean(dim=(2, 3))))).sigmoid()
        return x * scale[..., None, None]


class AsppCat(nn.Module):
    """A 1x1 and four dilated 3x3 convolutions, concatenated, fused to a feature and classified.

    ``channels`` are those of all input maps together; ``squeeze`` adds squeeze and excitation.
    """

    dilations = (6, 12, 18, 24)

    def __init__(
        self,
        channels: int,
        num_classes: int,
        *,
        branch_channels: int,
        feature_channels: int,
        norm: str,
        squeeze: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"model.head_norm must be one of {', '.join(NORMS)}, got {norm!r}")
        branch = partial(ConvNorm, channels, branch_channels, bias=True, norm=NORMS[norm])
        self.branches = nn.ModuleList([branch(), *(branch(3, dilation=d) for d in self.dilations)])
        joined = branch_channels * len(self.branches)
        self.se = SqueezeExcite(joined) if squeeze else nn.Identity()
        self.fuse = ConvNorm(joined, feature_channels, 3, bias=True, norm=NORMS[norm], relu=False)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(feature_channels, num_classes, 1, bias=False)
        # As in the release, whose loop over the branches has no effect: they keep torch's values.
        nn.init.kaiming_normal_(self.fuse.conv.weight, nonlinearity="relu")
        nn.init.zeros_(self.fuse.conv.bias)
        nn.init.normal_(self.classifier.weight, std=0.001)

    def forward(self, *maps: Float[Tensor, "b _ h w"]) -> HeadOutput:
        """Logits of the maps side by side; the feature is what the classifier sees."""
        x = maps[0] if len(maps) == 1 else torch.cat(maps, dim=1)
        joined = torch.cat([branch(x) for branch in self.branches], dim=1)
        feature = self.dropout(self.fuse(self.se(joined)))
        return HeadOutput(self.classifier(feature), feature)
