"""Hard labels of whole images from two looks. ProDA (Zhang et al., CVPR 2021)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from uda_hydra.losses.precision import probabilities
from uda_hydra.types import IGNORE, upsample


def two_look_probability(
    logits: Float[Tensor, "b k h w"],
    mirrored: Float[Tensor, "b k h w"] | None,
    size: tuple[int, int],
) -> Float[Tensor, "b k height width"]:
    """Class probabilities at ``size`` (height, width), enlarged as such and not as logits.

    ``mirrored`` are the logits of the mirrored images as the network returns them; the mean of both
    looks is taken.
    """
    probability = upsample(probabilities(logits), size)
    if mirrored is None:
        return probability
    return (probability + upsample(probabilities(mirrored), size).flip(3)) / 2


def half_precision_label(
    probability: Float[Tensor, "b k h w"], threshold: float | None
) -> Integer[Tensor, "b h w"]:
    """The most probable class, ignored unless more probable than ``threshold``; None keeps all.

    Both are rounded to half precision before they are compared, as in the release, which stores
    confidences so: 0.95 is 0.950195 there.
    """
    confidence, label = probability.max(dim=1)
    if threshold is None:
        return label
    bound = float(torch.tensor(threshold, dtype=torch.float16))
    return label.where(confidence.half().float() > bound, IGNORE)
