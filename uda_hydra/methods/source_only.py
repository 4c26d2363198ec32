"""Source-only training: what a segmenter learns without ever seeing the target."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

import uda_hydra.losses as L
from uda_hydra.methods.base import Losses, Method, Update, require_choice
from uda_hydra.types import Source, Step, Target

SHUFFLES = {
    # The release means to permute, but overwrites channels it still has to read.
    "official": ((0, 1, 2), (2, 2, 2), (1, 2, 1)),
    "permute": ((0, 1, 2), (2, 0, 1), (1, 2, 0)),
}
"""Channel orders by kind; each image gets one of the three with equal chance."""


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
            image = shuffled(image, choices, self.channel_shuffle)

        prediction = self.segmenter(image)
        yield Update("segmenter", **L.supervised(prediction, source.label))


def shuffled(
    image: Float[Tensor, "b 3 h w"], choices: list[int], kind: str
) -> Float[Tensor, "b 3 h w"]:
    """Each image with its channels in the order that ``choices`` names, see ``SHUFFLES``."""
    orders = [SHUFFLES[kind][choice] for choice in choices]
    return torch.stack(
        [torch.stack([one[c] for c in order]) for one, order in zip(image, orders, strict=True)]
    )
