"""Which confidence the surest part of each class's pixels reaches, from counts in bins."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int, Int64, Integer
from torch import Tensor

from uda_hydra.types import IGNORE

BINS = 4096
"""Even bins of a confidence in [0, 1]."""


def confidence_counts(probability: Float[Tensor, "b k h w"]) -> Int[Tensor, "b k bins"]:
    """How many pixels of each image are most probably a class with a confidence in each bin."""
    confidence, label = probability.max(dim=1)
    cell = label * BINS + (confidence * BINS).long().clamp(max=BINS - 1)
    size = probability.shape[1] * BINS
    rows = torch.stack([one.flatten().bincount(minlength=size) for one in cell])
    return rows.unflatten(1, (-1, BINS)).int()


def confidence_at(
    counts: Integer[Tensor, "k bins"], rank: Int64[Tensor, " k"]
) -> Float[Tensor, " k"]:
    """The confidence of each class's pixel number ``rank`` from the surest, counted from 1.

    It is the lower edge of its bin, at most 1 / ``BINS`` too low. 1 for the rank 0.
    """
    at_least = counts.long().flip(1).cumsum(dim=1).flip(1)  # pixels in this bin and above
    bin = (at_least >= rank.clamp(min=1)[:, None]).sum(dim=1) - 1
    # No confidence is below 1 / k, so the lowest bin means that there is no such pixel.
    return (bin.clamp(min=1) / BINS).where((rank > 0) & (bin >= 0), 1.0)


def balanced_label(
    probability: Float[Tensor, "b k h w"], threshold: Float[Tensor, " k"]
) -> Integer[Tensor, "b h w"]:
    """The class whose probability is the largest multiple of its threshold; ignored below 1.

    Class-balanced self-training (Zou et al., ECCV 2018); it can differ from the most probable.
    """
    ratio, label = (probability / threshold[:, None, None]).max(dim=1)
    return label.where(ratio >= 1, IGNORE)
