"""CaCo's dictionary and contrast loss, sentence by sentence as the paper and its release put them.

What ``memory.CategoryQueue`` and ``losses.category_contrast`` are measured against: a loop over
the classes, a dictionary on the host that is rolled, cells x keys matrices. Not for training.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, Integer
from torch import Tensor


class LiteralDictionary:
    """The last ``length`` keys of each class on the host, oldest first; empty ones of class -1."""

    def __init__(self, num_classes: int, length: int, dim: int) -> None:
        self.keys = torch.zeros(dim, num_classes, length)
        self.probability = torch.zeros(num_classes, num_classes, length)
        self.category = torch.full((num_classes, length), -1)

    @torch.no_grad()
    def push(
        self,
        features: Float[Tensor, "d h w"],
        label: Integer[Tensor, "h2 w2"],
        probability: Float[Tensor, "c h w"] | None = None,
    ) -> None:
        """Append each shown class's mean feature, and its mean probability or a one-hot one."""
        size = features.shape[-2:]
        cells = F.interpolate(label[None, None].float(), size=size, mode="nearest").flatten()
        for category in range(len(self.category)):
            own = cells == category
            if own.sum() == 0:
                continue
            belief = torch.eye(len(self.category))[category]
            if probability is not None:
                belief = probability.flatten(1)[:, own].mean(dim=1)
            self._append(category, features.flatten(1)[:, own].mean(dim=1), belief)

    def _append(self, category: int, key: Float[Tensor, " d"], belief: Float[Tensor, " c"]) -> None:
        # Overwrite the oldest, then roll it to the end.
        self.keys[:, category, 0] = key.cpu()
        self.probability[:, category, 0] = belief.cpu()
        self.category[category, 0] = category
        self.keys[:, category] = self.keys[:, category].roll(-1, dims=1)
        self.probability[:, category] = self.probability[:, category].roll(-1, dims=1)
        self.category[category] = self.category[category].roll(-1)

    def read(
        self, device: torch.device
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n c"], Int64[Tensor, " n"]]:
        """Copies on the device: keys, probabilities and classes, class by class."""
        keys, probability = (
            map.to(device, copy=True).flatten(1).T for map in (self.keys, self.probability)
        )
        return keys, probability, self.category.to(device, copy=True).flatten()


def literal_contrast(
    query: Float[Tensor, "d h w"],
    label: Int64[Tensor, "h w"],
    keys: Float[Tensor, "k d"],
    probability: Float[Tensor, "k c"],
    category: Int64[Tensor, " k"],
    *,
    temperature: float,
    base_temperature: float,
    clamp: float,
) -> Float[Tensor, ""]:
    """The contrast of a full dictionary, with a matrix of cells x keys for every symbol."""
    entropy = -(probability * (probability + 1e-30).log2()).sum(dim=1)
    certainty = 1 - entropy / math.log2(probability.shape[1])
    reliability = (certainty + clamp).clamp(1 - clamp, 1 + clamp)

    query = F.normalize(query.flatten(1), dim=0).T
    keys = F.normalize(keys, dim=1)
    scores = query @ keys.T / temperature
    shifted = scores - scores.max(dim=1, keepdim=True).values.detach()
    weights = reliability[None].repeat(len(query), 1)
    positive = (label.flatten()[:, None] == category[None]).float()
    exponentials = shifted.exp() * weights
    likelihood = shifted - exponentials.sum(dim=1, keepdim=True).log() + weights.log()
    per_cell = (positive * likelihood).sum(dim=1) / len(keys)
    return -(temperature / base_temperature) * per_cell.mean()
