"""A teacher whose weights are a running mean of the student's."""

from __future__ import annotations

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from uda_hydra.types import Prediction


class EmaTeacher(nn.Module):
    """A copy of the student that follows it slowly and is never trained.

    It trains and evaluates together with the method that owns it: in train mode batch norm uses
    the statistics of the current batch, as in Mean Teacher (Tarvainen and Valpola, NeurIPS 2017).
    """

    def __init__(self, student: nn.Module, *, momentum: float) -> None:
        super().__init__()
        if not 0 <= momentum <= 1:
            raise ValueError(f"method.ema_momentum must be in [0, 1], got {momentum}")
        self.momentum = momentum
        self.network = copy.deepcopy(student).requires_grad_(False)

    @torch.no_grad()
    def follow(self, student: nn.Module) -> None:
        """Parameters become momentum * own + (1 - momentum) * student's; buffers are copied."""
        # Interpolation, not a weighted sum: it leaves equal weights exactly as they are.
        weights = list(self.network.parameters()), list(student.parameters())
        torch._foreach_lerp_(*weights, 1 - self.momentum)
        for own, new in zip(self.network.buffers(), student.buffers(), strict=True):
            own.copy_(new)

    @torch.no_grad()
    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Prediction:
        """The teacher's prediction, a constant."""
        return self.network(image)
