"""Several trained segmenters that predict together: scored, never trained."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from uda_hydra.losses.precision import full_precision
from uda_hydra.types import Normalization, Predictor


class Ensemble(nn.Module):
    """The weighted sum of the logits of ``segmenters``: ADVENT's "AdvEnt + MinEnt".

    Vu et al., CVPR 2019, as released: logits and not probabilities; enlarging them after or before
    the sum is the same. ``weights`` need not sum to 1. All segmenters take the same input.
    """

    def __init__(self, segmenters: Sequence[Predictor], weights: Sequence[float]) -> None:
        super().__init__()
        self.segmenters = nn.ModuleList(segmenters)
        self.weights = tuple(weights)

    @property
    def normalization(self) -> Normalization:
        """How uint8 RGB becomes the segmenters' input."""
        return self.segmenters[0].normalization

    def predict(
        self, image: Float[Tensor, "b 3 h w"], *, aux_weight: float = 0.0
    ) -> Float[Tensor, "b k _ _"]:
        """Summed logits of the segmenters, in full precision."""
        return sum(
            weight * full_precision(segmenter.predict(image, aux_weight=aux_weight))
            for segmenter, weight in zip(self.segmenters, self.weights, strict=True)
        )
