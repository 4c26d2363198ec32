"""Sums, means and variances of the features of each class: one product for all classes."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64, Integer
from torch import Tensor


def image_sums(
    features: Float[Tensor, "b d h w"], label: Integer[Tensor, "b h w"], num_classes: int
) -> tuple[Float[Tensor, "b k d"], Float64[Tensor, "b k"]]:
    """Sum of the features over the cells of each class in each image, and how many these are.

    Without gradient and in float32 at least; ``label`` is of the features' size, and labels that
    are no class count nowhere.
    """
    with torch.autocast(features.device.type, enabled=False):
        features = _constant(features)
        classes = torch.arange(num_classes, device=label.device)[:, None]
        member = (label.flatten(1)[:, None] == classes).to(features.dtype)  # b k n
        return member @ features.flatten(2).mT, member.sum(dim=2, dtype=torch.float64)


def class_sums(
    features: Float[Tensor, "b d h w"], label: Integer[Tensor, "b h w"], num_classes: int
) -> tuple[Float[Tensor, "k d"], Float64[Tensor, " k"]]:
    """``image_sums`` over the whole batch."""
    total, count = image_sums(features, label, num_classes)
    return total.sum(dim=0), count.sum(dim=0)


def class_moments(
    features: Float[Tensor, "b d h w"], label: Integer[Tensor, "b h w"], num_classes: int
) -> tuple[Float[Tensor, "k d"], Float[Tensor, "k d"], Float64[Tensor, " k"]]:
    """Mean, variance (divisor n) and number of the cells of each class; 0 without a cell."""
    total, count = class_sums(features, label, num_classes)
    divisor = count.clamp(min=1).to(total.dtype)[:, None]
    mean = total / divisor
    # Around the mean, not a difference of squares: that would lose the small variances.
    own = mean[label.where(label < num_classes, 0).long()].movedim(-1, 1)
    squares, _ = class_sums((_constant(features) - own).square(), label, num_classes)
    return mean, squares / divisor, count


def _constant(features: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h w"]:
    return features.detach().to(torch.promote_types(features.dtype, torch.float32))
