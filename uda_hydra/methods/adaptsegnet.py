"""AdaptSegNet: adversarial adaptation of the output space (Tsai et al., CVPR 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

import uda_hydra.losses as L
from uda_hydra.methods.base import Losses, Method, Update
from uda_hydra.models.critics import TERMS, Critics, Views
from uda_hydra.models.discriminators import FcPix2pix
from uda_hydra.types import Prediction, Source, Target


class AdaptSegNet(Method):
    """The target's predictions learn to pass for those of the source, on every head."""

    terms = ("seg", "seg_aux", *TERMS)

    def __init__(
        self, segmenter: nn.Module, *, gan: str, disc_target_label: int, disc_width: int
    ) -> None:
        super().__init__(segmenter)
        self.critics = Critics(
            segmenter,
            lambda: FcPix2pix(segmenter.num_classes, width=disc_width),
            gan=gan,
            target_label=disc_target_label,
        )

    def players(self) -> dict[str, nn.Module]:
        """The segmenter against its critics."""
        return super().players() | {"critics": self.critics}

    def losses(self, source: Source, target: Target, progress: float) -> Losses:
        """Supervised source; the target before the critics; the source before them."""
        seen = self.segmenter(source.image)
        yield Update("segmenter", **L.supervised(seen, source.label))

        target_views = views(self.segmenter(target.image), target.image.shape[-2:])
        fooling, telling = self.critics.on_target(target_views)
        yield Update("segmenter", **fooling)
        yield Update("critics", **telling)

        with torch.no_grad():
            source_views = views(seen, source.image.shape[-2:])
        yield Update("critics", **self.critics.on_source(source_views))


def views(prediction: Prediction, size: Sequence[int]) -> Views:
    """The class probabilities of each head at (height, width)."""
    return {head: L.probabilities(z) for head, z in L.logits(prediction, size).items()}
