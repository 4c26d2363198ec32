"""Source-only training: what a segmenter learns without ever seeing the target."""

from __future__ import annotations

import torch
from torch import nn

import uda_hydra.losses as L
from uda_hydra.augment.photometric import SHUFFLES, shuffle_channels
from uda_hydra.methods.base import Losses, Method, Update, require_choice
from uda_hydra.types import Source, Step, Target


class SourceOnly(Method):
    """Supervised segmentation of the source: the lower bound, and the start of other methods."""

    terms = ("seg", "seg_aux")

    def __init__(self, segmenter: nn.Module, *, channel_shuffle: str) -> None:
        super().__init__(segmenter)
        require_choice("channel_shuffle", channel_shuffle, "none", *SHUFFLES)
        self.channel_shuffle = channel_shuffle

    def losses(self, source: Source, target: Target, step: Step) -> Losses:
        """One supervised update; the target is not looked at."""
        image = source.image
        if self.channel_shuffle != "none":
            choices = torch.randint(3, (len(image),)).tolist()
            image = shuffle_channels(image, choices, self.channel_shuffle)

        prediction = self.segmenter(image)
        yield Update("segmenter", **L.supervised(prediction, source.label))
