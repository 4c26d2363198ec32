"""Cross-entropy the other way round, which forgives wrong labels."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from uda_hydra.losses.precision import probabilities
from uda_hydra.types import IGNORE

LEAST_PROBABILITY = 1e-7
"""A predicted probability counts as this at least; below it there is no gradient."""
LEAST_LABEL = 1e-4
"""What a one-hot label says of every other class, so that its logarithm is finite."""


def reverse_cross_entropy(
    logits: Float[Tensor, "b k h w"], label: Integer[Tensor, "b h w"]
) -> Float[Tensor, ""]:
    """-sum of q ln o over the classes, mean over labelled pixels; in [0, 9.22], 0 without any.

    q is the prediction and o the one-hot label, so a pixel costs 9.21 times the probability of the
    wrong classes. Wang et al., ICCV 2019, with the clamps of ProDA's release.
    """
    probability = probabilities(logits).clamp(min=LEAST_PROBABILITY)
    valid = label != IGNORE
    classes = torch.arange(logits.shape[1], device=label.device)[:, None, None]
    wrong = valid[:, None] & (label[:, None] != classes)
    cost = -math.log(LEAST_LABEL) * (probability * wrong).sum()
    return cost / (valid.sum() + 1e-6)
