"""Running class means of features, shared by both domains."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64, Integer
from torch import Tensor, nn

from uda_hydra.memory.class_sums import class_moments, class_sums
from uda_hydra.types import Prediction, shrink_label

LEVELS = ("feat", "out")
"""What is contrasted: the backbone's last features, and the main head's logits."""


class Prototypes(nn.Module):
    """One mean per class and how many cells it is of; ProCA (Jiang et al., ECCV 2022), Sec. 3.2.

    Cumulative by default: the mean of all cells so far. With ``momentum`` the weight of a batch's
    mean is that, however many cells it is of. ``window`` lets a mean count for so many cells at
    most, so that it never stops moving. A class that was never seen stays at 0.
    """

    mean: Float[Tensor, "k d"]
    count: Float64[Tensor, " k"]

    def __init__(
        self,
        num_classes: int,
        dim: int,
        *,
        momentum: float | None = None,
        window: float | None = None,
    ) -> None:
        super().__init__()
        self.momentum = momentum
        self.window = window
        self.register_buffer("mean", torch.zeros(num_classes, dim))
        # In float32 a count would stop at 2^24, which a common class passes.
        self.register_buffer("count", torch.zeros(num_classes, dtype=torch.float64))

    @torch.no_grad()
    def update(self, features: Float[Tensor, "b d h w"], label: Integer[Tensor, "b h w"]) -> None:
        """Take in the cells of a batch; ignored ones and absent classes change nothing."""
        total, count = class_sums(features, label, len(self.mean))
        self.take(total, count)

    @torch.no_grad()
    def take(self, total: Float[Tensor, "k d"], count: Float64[Tensor, " k"]) -> None:
        """Take in sums over so many cells of each class."""
        mean = total / count.clamp(min=1).to(total.dtype)[:, None]
        weight = batch_weight(self.count, count, momentum=self.momentum, window=self.window)
        self.mean.lerp_(mean.to(self.mean.dtype), weight.to(self.mean.dtype)[:, None])
        self.count += count


class Gaussians(nn.Module):
    """A running mean and variance of every channel for each class: SDCA (Li et al., 2021)."""

    mean: Float[Tensor, "k d"]
    variance: Float[Tensor, "k d"]
    count: Float64[Tensor, " k"]

    def __init__(self, num_classes: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_classes, dim))
        self.register_buffer("variance", torch.zeros(num_classes, dim))
        self.register_buffer("count", torch.zeros(num_classes, dtype=torch.float64))

    @torch.no_grad()
    def update(self, features: Float[Tensor, "b d h w"], label: Integer[Tensor, "b h w"]) -> None:
        """Take in the cells of a batch; the variance of the whole is within plus between."""
        self.take(*class_moments(features, label, len(self.mean)))

    @torch.no_grad()
    def take(
        self,
        mean: Float[Tensor, "k d"],
        variance: Float[Tensor, "k d"],
        count: Float64[Tensor, " k"],
    ) -> None:
        """Take in the moments of so many cells of each class; variances have the divisor n."""
        weight = batch_weight(self.count, count).to(self.mean.dtype)[:, None]
        between = weight * (1 - weight) * (self.mean - mean).square()
        self.variance.lerp_(variance, weight).add_(between)
        self.mean.lerp_(mean, weight)
        self.count += count


def level_map(prediction: Prediction, level: str) -> Float[Tensor, "b d h w"]:
    """What is contrasted at a level."""
    return prediction.features if level == "feat" else prediction.main


def label_of(
    map: Float[Tensor, "b d h w"], label: Integer[Tensor, "b h2 w2"]
) -> Integer[Tensor, "b h w"]:
    """The label on the map's grid."""
    return shrink_label(label, (map.shape[2], map.shape[3]))


def batch_weight(
    before: Float64[Tensor, " k"],
    count: Float64[Tensor, " k"],
    *,
    momentum: float | None = None,
    window: float | None = None,
) -> Float64[Tensor, " k"]:
    """The share of a batch in the new mean of each class: 0 where it has no cell of it."""
    if momentum is not None:
        return momentum * (count > 0).double()
    if window is not None:
        before = before.clamp(max=window)
    return count / (before + count).clamp(min=1)
