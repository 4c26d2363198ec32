"""A teacher whose weights are a running mean of the student's."""

from __future__ import annotations

import copy
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from uda_hydra.types import Prediction


class EmaTeacher(nn.Module):
    """A copy of the student that follows it slowly and is never trained.

    It trains and evaluates together with the method that owns it: in train mode batch norm uses
    the statistics of the current batch, as in Mean Teacher (Tarvainen and Valpola, NeurIPS 2017).
    Without ``drops``, dropout and stochastic depth are off in train mode too, as in DACS.
    """

    def __init__(self, student: nn.Module, *, drops: bool = True) -> None:
        super().__init__()
        self.drops = drops
        self.network = copy.deepcopy(student).requires_grad_(False)

    @torch.no_grad()
    def follow(
        self, student: nn.Module, *, momentum: float, buffers: Literal["copy", "keep"] = "copy"
    ) -> None:
        """Parameters become momentum * own + (1 - momentum) * student's; 0 copies them.

        Buffers are the student's, or with "keep" the teacher's own.
        """
        # Interpolation, not a weighted sum: it leaves equal weights exactly as they are.
        weights = list(self.network.parameters()), list(student.parameters())
        torch._foreach_lerp_(*weights, 1 - momentum)
        own, new = [*self.network.buffers()], [*student.buffers()]
        if buffers == "copy" and own:
            torch._foreach_copy_(own, new)

    @torch.no_grad()
    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Prediction:
        """The teacher's prediction, a constant."""
        return self.network(image)

    def train(self, mode: bool = True) -> EmaTeacher:
        """Train or evaluate, see the class."""
        super().train(mode)
        if not self.drops:
            # Only batch norm and what draws random numbers differ between the two modes.
            self.network.eval()
            for module in self.network.modules():
                if isinstance(module, _BatchNorm):
                    module.train(mode)
        return self


def ema_momentum(step: int, limit: float) -> float:
    """min(1 - 1 / (step + 1), limit): the first step copies, early ones average all so far.

    Tarvainen and Valpola's ramp-up, as DACS and its descendants have it.
    """
    return min(1 - 1 / (step + 1), limit)
