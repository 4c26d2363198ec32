"""How sure a prediction is: entropy of class probabilities, and what is derived from it."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def normalized_entropy(probability: Float[Tensor, "*shape k"]) -> Float[Tensor, "*shape"]:
    """Entropy over the last dimension divided by ln k: 0 for one-hot, 1 for uniform."""
    # Clamped, 0 ln 0 is 0 and has a finite gradient.
    log = probability.clamp(min=torch.finfo(probability.dtype).tiny).log()
    return -(probability * log).sum(dim=-1) / math.log(probability.shape[-1])


def reliability(probability: Float[Tensor, "*shape k"], clamp: float) -> Float[Tensor, "*shape"]:
    """How much a dictionary key counts, in [1 - clamp, 1 + clamp]; a one-hot key has 1 + clamp.

    CaCo (Huang et al., CVPR 2022), as released: ``clamp`` is both the shift and the half-width.
    """
    return (1 - normalized_entropy(probability) + clamp).clamp(1 - clamp, 1 + clamp)
