"""Adversarial losses: one map of scores, as AdaptSegNet and its descendants have it, or several.

Those over several scales and the penalty on the gradient are of CaCo's vanilla release, after Mao
et al. (ICCV 2017) and Mescheder et al. (ICML 2018).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from uda_hydra.losses.precision import full_precision
from uda_hydra.types import SUFFIX

GANS = ("vanilla", "ls")
SOURCE, TARGET = 0, 1
"""Labels of the domains; the papers' texts may have them the other way round."""

Scores = Sequence[Float[Tensor, "b 1 _ _"]]
"""A discriminator's maps of scores, one per scale."""


def least_squares_discriminator(fake: Scores, real: Scores) -> Float[Tensor, ""]:
    """0 or more: distance of the scores from 0 for fake and from 1 for real, summed over scales."""
    return sum(f.square().mean() + (r - 1).square().mean() for f, r in zip(fake, real, strict=True))


def least_squares_generator(fake: Scores) -> Float[Tensor, ""]:
    """0 or more: how far the scores of fake are from 1; the release counts it twice."""
    return 2 * sum((f - 1).square().mean() for f in fake)


def gradient_penalty(real: Scores, image: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
    """Squared norm of the gradient of a scale's scores by ``image``: summed over scales, mean of b.

    ``image``, of which the scores are, must require its gradient. The release weighs it by 0.01.
    """
    gradients = [torch.autograd.grad(scores.sum(), image, create_graph=True)[0] for scores in real]
    return sum(gradient.square().flatten(1).sum(dim=1).mean() for gradient in gradients)


def gan(scores: Float[Tensor, "b 1 h w"], domain: int, *, kind: str) -> Float[Tensor, ""]:
    """0 or more: how far a discriminator's scores are from saying ``domain``, mean over the map.

    vanilla: binary cross-entropy of logits; ls: squared distance (Mao et al., ICCV 2017).
    Tsai et al., CVPR 2018, Eq. 2 and 4.
    """
    scores = full_precision(scores)
    truth = torch.full_like(scores, domain)
    if kind == "ls":
        return F.mse_loss(scores, truth)
    return F.binary_cross_entropy_with_logits(scores, truth)


def adversarial(
    term: str, scores: Mapping[str, Float[Tensor, "b 1 _ _"]], domain: int, *, kind: str
) -> dict[str, Tensor]:
    """``gan`` of each head's scores, named ``term`` with the suffix of the head."""
    return {f"{term}{SUFFIX[head]}": gan(map, domain, kind=kind) for head, map in scores.items()}
