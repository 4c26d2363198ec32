"""Disagreement of two heads as the uncertainty of a pixel."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from uda_hydra.losses.precision import full_precision


def prediction_variance(
    logits: Float[Tensor, "b k h w"], other: Float[Tensor, "b k h w"]
) -> Float[Tensor, "b h w"]:
    """KL(other || own) of the heads' class probabilities at each pixel, in [0, inf).

    Zheng and Yang, IJCV 2021, Eq. 6. Both heads get its gradient.
    """
    own, other = (full_precision(z).log_softmax(dim=1) for z in (logits, other))
    return (other.exp() * (other - own)).sum(dim=1)
