"""Stops a training at the first loss that is no number, without waiting in every step."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from uda_hydra.errors import UserError


class NonFiniteLoss(UserError, ArithmeticError):
    """A loss term became infinite or not a number."""


class FiniteWatch:
    """Collects the values of each step and looks at all of them with one copy to the host."""

    def __init__(self, last: Path) -> None:
        self._last = last
        self._steps: list[tuple[int, tuple[str, ...], dict[str, Tensor]]] = []

    def add(self, step: int, keys: tuple[str, ...], values: dict[str, Tensor]) -> None:
        """Remember what ``step`` yielded on the samples ``keys``."""
        self._steps.append((step, keys, values))

    def check(self) -> None:
        """Raise NonFiniteLoss for the first bad step since the last look.

        Comes before anything is logged, scored or saved, so that no bad state reaches the disk.
        """
        steps, self._steps = self._steps, []
        if not steps:
            return
        sums = torch.stack([torch.stack([*values.values()]).sum() for *_, values in steps])
        for finite, (step, keys, values) in zip(sums.isfinite().tolist(), steps, strict=True):
            if not finite:
                raise NonFiniteLoss(self._message(step, keys, values))

    def _message(self, step: int, keys: tuple[str, ...], values: dict[str, Tensor]) -> str:
        bad = [f"{name} is {float(v)}" for name, v in values.items() if not v.isfinite()]
        return (
            f"step {step}: {', '.join(bad)} on the samples {', '.join(keys)}. "
            f"The last good state is {self._last}. A smaller optimizer.lr or loss weight, "
            "or trainer.precision=fp32, may help."
        )


def largest(module: nn.Module) -> Float[Tensor, ""]:
    """Largest magnitude in a module's parameters and buffers; nan if there is one anywhere."""
    floats = [t.detach() for t in module.state_dict().values() if t.is_floating_point()]
    return torch.stack([t.abs().max().float() for t in floats if t.numel()]).max()
