"""Regularisers of the confidence in self-training. Zou et al., ICCV 2019 (CRST)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from uda_hydra.losses.entropy import pixel_entropy
from uda_hydra.losses.precision import full_precision


def uniform_divergence(logits: Float[Tensor, "b k h w"]) -> Float[Tensor, ""]:
    """MRKLD: -ln p, averaged over classes and pixels; at least ln k, the value of the uniform p."""
    return -full_precision(logits).log_softmax(dim=1).mean()


def negative_entropy(logits: Float[Tensor, "b k h w"]) -> Float[Tensor, ""]:
    """MRENT: sum of p ln p over the classes, averaged over the pixels; in [-ln k, 0]."""
    return -pixel_entropy(logits).mean()


REGULARIZERS = {"mrkld": uniform_divergence, "mrent": negative_entropy}
"""By the names that the paper gives them; the least value is that of the uniform prediction."""
