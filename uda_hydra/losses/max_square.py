"""Confidence on the target without a discriminator. MaxSquare (Chen et al., ICCV 2019).

As in its release every mean also runs over the classes, which the paper's formulas do not divide
by: the published weights contain that factor.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from uda_hydra.types import IGNORE


def max_square(probability: Float[Tensor, "b k h w"]) -> Float[Tensor, ""]:
    """Maximum squares loss, in [-1/(2k), -1/(2k^2)]; lower is more confident. Eq. 5."""
    return -probability.square().mean() / 2


def image_wise(
    values: Float[Tensor, "b h w"], weights: Float[Tensor, "b h w"], num_classes: int
) -> Float[Tensor, ""]:
    """Weighted sum over each image's pixels, averaged over images and classes. Sec. 3.4.

    Neither a half nor the number of pixels appears, unlike in the loss without weights: that is the
    release's, and ``class_weights`` takes the number into account.
    """
    return (weights.detach() * values).sum() / (len(values) * num_classes)


def pixel_weights(
    probability: Float[Tensor, "b k h w"],
    *,
    ratio: float,
    label: Integer[Tensor, "b h w"] | None = None,
) -> Float[Tensor, "b h w"]:
    """The weight of each pixel's most probable class in its own image.

    Classes are counted in ``label``, where ignored pixels do not count, or in that same argmax.
    """
    likely = probability.argmax(dim=1)
    counted = likely if label is None else label
    weights = class_weights(_counts(counted, probability.shape[1]), ratio=ratio)
    return weights.gather(1, likely.flatten(1)).view(likely.shape)


def class_weights(count: Float[Tensor, "b k"], *, ratio: float) -> Float[Tensor, "b k"]:
    """1 / (count^ratio * total^(1 - ratio)), at most 1; ``count`` holds an image's pixels by class.

    ``ratio`` 0 treats all classes alike, 1 is the inverse frequency. Eq. 9.
    """
    total = count.sum(dim=1, keepdim=True)
    return 1 / (count**ratio * total ** (1 - ratio)).clamp(min=1)


def _counts(label: Integer[Tensor, "b h w"], num_classes: int) -> Float[Tensor, "b k"]:
    # Not bincount: it would have to ask the device how many bins there are.
    index = label.long().flatten(1)
    index = index.where(index != IGNORE, num_classes)
    count = torch.zeros(len(label), num_classes + 1, device=label.device)
    return count.scatter_add_(1, index, torch.ones_like(index, dtype=count.dtype))[:, :-1]
