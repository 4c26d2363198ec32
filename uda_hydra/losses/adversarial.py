"""Least squares adversarial losses over several scales, and the penalty on the gradient.

CaCo's vanilla release, after Mao et al. (ICCV 2017) and Mescheder et al. (ICML 2018).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

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
