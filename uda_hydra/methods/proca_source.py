"""Source-only training as ProCA begins (Jiang et al., ECCV 2022): with Lovasz-Softmax."""

from __future__ import annotations

import uda_hydra.losses as L
from uda_hydra.methods.base import Losses, Method, Update
from uda_hydra.types import Source, Step, Target


class LovaszSource(Method):
    """Supervised segmentation of the source; the target is not looked at."""

    terms = ("seg", "seg_aux", "lov")

    def losses(self, source: Source, target: Target, step: Step) -> Losses:
        """One supervised update."""
        prediction = self.segmenter(source.image)
        yield Update("segmenter", **L.supervised_lovasz(prediction, source.label))
