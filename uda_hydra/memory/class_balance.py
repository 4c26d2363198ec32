"""Weights of classes that a batch shows seldom, or that batches have not shown for long."""

from __future__ import annotations

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

from uda_hydra.types import IGNORE


class ClassBalance(nn.Module):
    """Class weights of each batch's labels: Seg-Uncertainty (Zheng and Yang, IJCV 2021), CaCo.

    A class with less than ``rare_share`` of a batch's pixels weighs ``max_weight`` and not 1, times
    a running mean that moves by a tenth towards ``max_weight`` in batches without the class.
    """

    often: Float[Tensor, " k"]

    def __init__(self, num_classes: int, *, max_weight: float, rare_share: float) -> None:
        super().__init__()
        if max_weight < 1:
            raise ValueError(f"method.max_weight must be 1 or more, got {max_weight}")
        self.max_weight = max_weight
        self.rare_share = rare_share
        self.register_buffer("often", torch.ones(num_classes))

    @torch.no_grad()
    def take(self, label: Integer[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
        """The weight of each pixel's class, 0 of ignored pixels; the running mean moves."""
        weight = torch.cat([self.weights(label), self.often.new_zeros(1)])
        index = label.long()
        return weight[index.where(index != IGNORE, len(self.often))]

    @torch.no_grad()
    def weights(self, label: Integer[Tensor, "b h w"]) -> Float[Tensor, " k"]:
        """Each class's weight; the running mean moves."""
        classes = torch.arange(len(self.often), device=label.device)[:, None]
        count = (label.flatten() == classes).sum(dim=1)
        rare, absent = (
            torch.where(few, self.max_weight, 1.0)
            for few in (count < self.rare_share * label.numel(), count == 0)
        )
        self.often.mul_(0.9).add_(0.1 * absent)
        return rare * self.often
