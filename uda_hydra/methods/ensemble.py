"""Several trained segmenters that answer together: scored, never trained."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from uda_hydra.losses.precision import full_precision
from uda_hydra.methods.base import Losses, Method, Untrained
from uda_hydra.types import Source, Step, Target


class Ensemble(Method):
    """The weighted sum of the logits of ``segmenters``: ADVENT's "AdvEnt + MinEnt".

    Vu et al., CVPR 2019, as released: logits and not probabilities, enlarged after or before the
    sum alike. ``weights`` need not sum to 1.
    """

    terms = ()

    def __init__(self, segmenters: Sequence[nn.Module], weights: Sequence[float]) -> None:
        super().__init__(segmenters[0])
        self.members = nn.ModuleList(Untrained(segmenter) for segmenter in segmenters)
        self.weights = tuple(weights)

    def losses(self, source: Source, target: Target, step: Step) -> Losses:
        """There are none."""
        raise TypeError("an ensemble is scored and not trained")

    def predict(self, image: Tensor, *, aux_weight: float = 0.0) -> Tensor:
        """Summed logits (b, classes, h, w) of the members."""
        return sum(
            weight * full_precision(member.predict(image, aux_weight=aux_weight))
            for member, weight in zip(self.members, self.weights, strict=True)
        )
