"""A network that a method reads and never trains."""

from __future__ import annotations

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from uda_hydra.types import Prediction


class FrozenNetwork(nn.Module):
    """A copy of a network that stays as it is, in eval mode: a teacher of an earlier stage."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Prediction:
        """Its prediction, a constant."""
        return self.network(image)

    def train(self, mode: bool = True) -> FrozenNetwork:
        """Stay in eval mode."""
        return super().train(False)
