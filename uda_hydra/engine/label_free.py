"""Scores of a model that no target label enters: what one would have to choose by without any."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from uda_hydra.data.streams import seed_of
from uda_hydra.engine.protocols import Look
from uda_hydra.losses.entropy import normalized_entropy
from uda_hydra.settings import EvaluationSettings

DIRECTIONS = {
    "entropy/target": "minimize",
    "snd/target": "maximize",
    "miou/source_val": "maximize",
}
"""The better direction of each score, in Optuna's words."""
SAMPLES = 100
TEMPERATURE = 0.05


class LabelFree:
    """Means over target images of ``entropy/target`` and ``snd/target``.

    Both come from the first look of the protocol. Only two numbers are kept, on ``device``.
    """

    def __init__(self, device: torch.device) -> None:
        self._entropy = torch.zeros((), dtype=torch.float64, device=device)
        self._density = torch.zeros((), dtype=torch.float64, device=device)
        self._images = 0

    def add(self, index: int, first: Look) -> None:
        """Add image number ``index`` of the set, which alone decides the pixels sampled."""
        # Of the cells and not of all pixels: enlarging them would take longer than the network.
        self._entropy += normalized_entropy(first.logits[0].movedim(0, -1).softmax(dim=-1)).mean()
        pixels = choose_pixels(index, math.prod(first.size))
        self._density += soft_neighbourhood_density(logits_at(first, pixels).softmax(dim=1))
        self._images += 1

    def means(self) -> dict[str, float]:
        """``entropy/target`` in [0, 1], ``snd/target`` in [0, ln(SAMPLES - 1)]."""
        return {
            "entropy/target": float(self._entropy) / self._images,
            "snd/target": float(self._density) / self._images,
        }


# Needed again at every evaluation, and drawing takes a third of the whole.
@lru_cache(maxsize=4096)
def choose_pixels(index: int, pixels: int) -> Int64[np.ndarray, " n"]:
    """``SAMPLES`` different ones of so many ``pixels``, or all: a function of the arguments."""
    generator = np.random.default_rng(seed_of("soft neighbourhood density", index))
    return generator.choice(pixels, size=min(SAMPLES, pixels), replace=False)


def logits_at(look: Look, pixels: Int64[np.ndarray, " n"]) -> Float[Tensor, "n k"]:
    """Logits at ``pixels`` (counted row by row) of the map enlarged to the view's size.

    The same values as of the whole map, bilinear with corners aligned, which is never made.
    """
    height, width = look.size
    rows, columns = np.divmod(pixels, width)
    x = 2 * columns / max(width - 1, 1) - 1
    y = 2 * rows / max(height - 1, 1) - 1
    grid = torch.from_numpy(np.stack([x, y], axis=-1)).to(look.logits)[None, None]
    # Rounding may put a corner outside, where there would be zeros.
    values = F.grid_sample(look.logits, grid, padding_mode="border", align_corners=True)
    return values[0, :, 0].T


def soft_neighbourhood_density(probability: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
    """Mean entropy in nats of whom each sample is similar to, in [0, ln(n - 1)]; higher is better.

    Saito et al., ICCV 2021, Sec. 3: class probabilities of unit length, their products over the
    temperature 0.05, a softmax of every row without the sample itself. From the authors' release
    for segmentation come 100 random pixels an image, neighbourhoods within the image, and the
    mean over images. It leaves the sample among its own neighbours there; we follow the paper.
    """
    unit = F.normalize(probability, dim=1)
    similarity = (unit @ unit.T / TEMPERATURE).fill_diagonal_(-torch.inf)
    return torch.special.entr(similarity.softmax(dim=1)).sum(dim=1).mean()


def single_look(protocol: EvaluationSettings) -> EvaluationSettings:
    """The protocol with one look, at the images' own training size: enough for the source."""
    return replace(protocol, size=None, scales=[1.0], rescale="image", mirror=False, labels="full")
