"""Colour jitter and blur of the images a student learns from: DACS and its descendants."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from uda_hydra.augment.photometric import Jitter, blur, draw_jitter, jitter_normalised
from uda_hydra.types import Normalization

SIGMAS = (0.15, 1.15)
"""Smallest and largest standard deviation of the blur, in pixels."""


class Variation(NamedTuple):
    """What is done to a batch, first the jitter."""

    jitters: tuple[Jitter, ...]
    """One for each image; none leaves the colours as they are."""
    sigmas: tuple[float, ...]
    """One for each image; none leaves them sharp."""


class Chances(NamedTuple):
    """How often and how strongly images are varied."""

    jitter: float
    """Probability that the colours of a batch are jittered."""
    strength: float
    """Of the jitter, see ``draw_jitter``."""
    blur: float
    """Probability that a batch is blurred."""


def draw_variation(count: int, chances: Chances, random: Random, *, alike: bool) -> Variation:
    """The variation of ``count`` images; whether there is one is decided for all together.

    ``alike``: the operations of the jitter come in one order, and all images are as blurred.
    """
    jitters, sigmas = [], []
    if happens(random.random(), chances.jitter):
        jitters = [draw_jitter(chances.strength, chances.strength, random) for _ in range(count)]
        if alike:
            jitters = [one._replace(order=jitters[0].order) for one in jitters]
    if happens(random.random(), chances.blur):
        sigmas = [random.uniform(*SIGMAS) for _ in range(count)]
        if alike:
            sigmas = sigmas[:1] * count
    return Variation(tuple(jitters), tuple(sigmas))


def happens(uniform: float, probability: float) -> bool:
    """Whether a number in [0, 1) lies above 1 - ``probability``, as the releases decide."""
    # Rounded, so that 0.8 leaves out all of [0, 0.2].
    return uniform > round(1 - probability, 12)


def vary(
    image: Float[Tensor, "b 3 h w"], variation: Variation, normalization: Normalization
) -> Float[Tensor, "b 3 h w"]:
    """Normalised images, jittered and then blurred."""
    if variation.jitters:
        bgr = normalization.channels == "bgr"
        mean, std = (
            [number / normalization.scale for number in (numbers[::-1] if bgr else numbers)]
            for numbers in (normalization.mean, normalization.std)
        )
        image = image.flip(1) if bgr else image
        image = jitter_normalised(image, variation.jitters, mean=mean, std=std)
        image = image.flip(1) if bgr else image
    if variation.sigmas:
        pairs = zip(image, variation.sigmas, strict=True)
        image = torch.cat([blur(one[None], sigma) for one, sigma in pairs])
    return image
