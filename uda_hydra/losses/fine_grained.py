"""Class-wise adversarial losses: FADA (Wang et al., ECCV 2020), Sec. 3.2."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from uda_hydra.losses.adversarial import SOURCE
from uda_hydra.losses.precision import full_precision


def class_knowledge(
    logits: Float[Tensor, "b k h w"], *, temperature: float, clip: float
) -> Float[Tensor, "b k h w"]:
    """What a discriminator is taught of each pixel's class: a constant, at most ``clip`` a class.

    The probabilities are not made to sum to 1 again, as in the release.
    """
    return (full_precision(logits.detach()) / temperature).softmax(dim=1).clamp(max=clip)


def fine_grained(
    scores: Float[Tensor, "b k2 h w"],
    knowledge: Float[Tensor, "b k h w"],
    domain: int,
    weight: Float[Tensor, "b h w"] | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy of a discriminator's scores with the classes of ``domain``, mean over pixels.

    The scores are those of the source's classes, then those of the target's. ``weight`` multiplies
    each pixel's cost. Wang et al., Eq. 4 and 5.
    """
    own = slice(0, knowledge.shape[1]) if domain == SOURCE else slice(knowledge.shape[1], None)
    log = full_precision(scores).log_softmax(dim=1)[:, own]
    cost = -(knowledge.detach() * log).sum(dim=1)
    return torch.mean(cost if weight is None else weight * cost)
