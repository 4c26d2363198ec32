"""Regularisers of the confidence in self-training. Zou et al., ICCV 2019 (CRST)."""

from __future__ import annotations

from jaxtyping import Float, Integer
from torch import Tensor

from uda_hydra.losses.entropy import pixel_entropy
from uda_hydra.losses.precision import full_precision, probabilities
from uda_hydra.types import IGNORE


def uniform_divergence(
    logits: Float[Tensor, "b k h w"], label: Integer[Tensor, "b h w"] | None = None
) -> Float[Tensor, ""]:
    """MRKLD: -ln p, averaged over classes and pixels; at least ln k, the value of the uniform p.

    With a ``label`` only its pixels count that are not ignored, as in the other two.
    """
    return _mean(-full_precision(logits).log_softmax(dim=1).mean(dim=1), label)


def negative_entropy(
    logits: Float[Tensor, "b k h w"], label: Integer[Tensor, "b h w"] | None = None
) -> Float[Tensor, ""]:
    """MRENT: sum of p ln p over the classes, averaged over the pixels; in [-ln k, 0]."""
    return _mean(-pixel_entropy(logits), label)


def squared_norm(
    logits: Float[Tensor, "b k h w"], label: Integer[Tensor, "b h w"] | None = None
) -> Float[Tensor, ""]:
    """MRL2: sum of p squared over the classes, averaged over the pixels; in [1 / k, 1]."""
    return _mean(probabilities(logits).square().sum(dim=1), label)


def _mean(
    values: Float[Tensor, "b h w"], label: Integer[Tensor, "b h w"] | None
) -> Float[Tensor, ""]:
    """Over the labelled pixels, 0 without one; over all where there is no label."""
    if label is None:
        return values.mean()
    labelled = label != IGNORE
    return (values * labelled).sum() / labelled.sum().clamp(min=1)


REGULARIZERS = {"mrkld": uniform_divergence, "mrent": negative_entropy, "mrl2": squared_norm}
"""By the names that the paper gives them; the least value is that of the uniform prediction."""
