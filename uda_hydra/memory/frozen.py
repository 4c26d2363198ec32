"""A network as it was at the beginning."""

from __future__ import annotations

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Frozen(nn.Module):
    """A copy that never changes and is never trained: always in eval mode."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Tensor | tuple[Tensor, ...]:
        """What the network returned for the image, a constant."""
        return self.network(image)

    def train(self, mode: bool = True) -> Frozen:
        """No change, whatever the mode."""
        return self
