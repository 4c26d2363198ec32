"""A segmenter small enough to follow by hand, and a batch for it."""

from __future__ import annotations

import torch
from torch import nn

from uda_hydra.types import Prediction, Source, Step, Target


class Toy(nn.Module):
    """A strided convolution with one or two linear heads."""

    num_classes = 3

    def __init__(self, *, aux: bool = True):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 4, 4, stride=4)
        self.main_head = nn.Conv2d(4, 3, 1)
        self.aux_head = nn.Conv2d(4, 3, 1) if aux else None

    def forward(self, image):
        features = self.stem(image)
        aux = None if self.aux_head is None else self.aux_head(features)
        return Prediction(self.main_head(features), aux, features)


def batch(count: int = 1) -> tuple[Source, Target]:
    """Images large enough for five halvings; the two domains differ in size."""
    torch.manual_seed(1)
    label = torch.randint(0, 3, (count, 32, 48))
    return Source(torch.randn(count, 3, 32, 48), label), Target(torch.randn(count, 3, 40, 64))


STEP = Step(0, 0.0)
"""The first step, for methods that do not look at it."""
