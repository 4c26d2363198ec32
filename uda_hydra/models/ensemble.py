"""Several trained segmenters that predict together: scored, never trained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from uda_hydra.losses.precision import full_precision, probabilities
from uda_hydra.types import Normalization, Predictor

SUMMED = ("logits", "probabilities")


class Ensemble(nn.Module):
    """The weighted sum of what ``segmenters`` predict; all of them take the same input.

    ``of`` "logits": ADVENT's "AdvEnt + MinEnt" (Vu et al., CVPR 2019), as released. Enlarging them
    after or before the sum is the same, and ``weights`` need not sum to 1. ``of`` "probabilities":
    FDA's (Yang and Soatto, CVPR 2020), a mean at the network's resolution, whose logarithm stands
    for logits.
    """

    def __init__(
        self, segmenters: Sequence[Predictor], weights: Sequence[float], *, of: str = "logits"
    ) -> None:
        super().__init__()
        if of not in SUMMED:
            raise ValueError(f"ensemble_of must be one of {', '.join(SUMMED)}, got {of}")
        self.segmenters = nn.ModuleList(segmenters)
        self.weights = tuple(weights)
        self.of = of

    @property
    def normalization(self) -> Normalization:
        """How uint8 RGB becomes the segmenters' input."""
        return self.segmenters[0].normalization

    def predict(
        self, image: Float[Tensor, "b 3 h w"], *, aux_weight: float = 0.0
    ) -> Float[Tensor, "b k _ _"]:
        """Summed logits of the segmenters or the logarithm of their mean, in full precision."""
        looks = [segmenter.predict(image, aux_weight=aux_weight) for segmenter in self.segmenters]
        if self.of == "logits":
            return self._sum(map(full_precision, looks))
        mean = self._sum(map(probabilities, looks)) / sum(self.weights)
        # A class that no segmenter believes in has no finite logit.
        return mean.clamp(min=torch.finfo(mean.dtype).tiny).log()

    def _sum(self, maps: Iterable[Tensor]) -> Tensor:
        """Weighted."""
        return sum(weight * map for weight, map in zip(self.weights, maps, strict=True))
