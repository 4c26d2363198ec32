"""How sure a prediction is: entropy of class probabilities, and what is derived from it.

The papers divide by different things. With k classes, ``pixel_entropy`` is the bare sum over the
classes, in [0, ln k]. ``normalized_entropy`` divides it by ln k, and ``entropy`` is the mean of
that over the pixels: both in [0, 1] (ADVENT, CaCo). ``mean_entropy`` is the mean over pixels and
classes, so it divides by k: in [0, ln(k) / k] (MaxSquare). ``self_information`` are the k summands
of the normalised entropy, not yet summed (ADVENT).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from uda_hydra.losses.precision import full_precision


def pixel_entropy(logits: Float[Tensor, "b k h w"]) -> Float[Tensor, "b h w"]:
    """-sum of p ln p over the classes, in [0, ln k]."""
    log = full_precision(logits).log_softmax(dim=1)
    return -(log.exp() * log).sum(dim=1)


def mean_entropy(logits: Float[Tensor, "b k h w"]) -> Float[Tensor, ""]:
    """-p ln p, averaged over pixels and classes: in [0, ln(k) / k]. MaxSquare's baseline."""
    return pixel_entropy(logits).mean() / logits.shape[1]


def charbonnier_entropy(logits: Float[Tensor, "b k h w"], *, power: float) -> Float[Tensor, ""]:
    """Mean of (e^2 + 1e-8)^power over the pixels, of their normalised entropy e: about [0, 1].

    FDA (Yang and Soatto, CVPR 2020), Eq. 4: the larger the power, the less sure pixels pull.
    """
    share = pixel_entropy(logits) / math.log(logits.shape[1])
    return (share.square() + 1e-8).pow(power).mean()


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


def self_information(probability: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k h w"]:
    """Each class's share -p log p / log k of a pixel's entropy: 0 or more, summing to at most 1.

    ADVENT (Vu et al., CVPR 2019), Sec. 3.2. What is added inside the logarithm is the release's: it
    makes the gradient finite where a probability is 0.
    """
    return -probability * (probability + 1e-30).log2() / math.log2(probability.shape[1])


def entropy(probability: Float[Tensor, "b k h w"], *, hardest: float = 1.0) -> Float[Tensor, ""]:
    """Mean normalised entropy of the pixels, in [0, 1]. ADVENT, Eq. 2 and 3.

    With ``hardest`` below 1 only that share of each image's pixels counts (at least one), those of
    the highest entropy: the paper's entropy ranking.
    """
    pixels = self_information(probability).sum(dim=1).flatten(1)
    if hardest < 1:
        pixels = pixels.topk(max(1, round(hardest * pixels.shape[1])), dim=1).values
    return pixels.mean()


def class_prior(
    probability: Float[Tensor, "b k h w"], share: Float[Tensor, " k"], *, strictness: float
) -> Float[Tensor, ""]:
    """How far the classes' mean probabilities fall short of ``strictness`` times ``share``.

    Summed over the classes, averaged over the images: 0 or more, at most ``strictness``. ADVENT,
    Sec. 3.4; ``share`` is that of each class in the source's labelled pixels.
    """
    return (strictness * share - probability.mean(dim=(2, 3))).clamp(min=0).sum(dim=1).mean()
