"""Stops a training at the first loss that is not finite, without waiting in every step."""

from __future__ import annotations

import math
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
        self.names: set[str] = set()
        """Names of the values that have been seen."""
        self.nonzero: set[str] = set()
        """Those that have been other than 0 in one step at least."""

    def add(self, step: int, keys: tuple[str, ...], values: dict[str, Tensor]) -> None:
        """Remember what ``step`` yielded on the samples ``keys``."""
        self._steps.append((step, keys, values))

    def check(self) -> None:
        """Raise NonFiniteLoss for the first bad step since the last check.

        Called before anything is logged, scored or saved, so that no bad state reaches the disk.
        """
        steps, self._steps = self._steps, []
        if not any(values for *_, values in steps):
            return
        found = torch.stack([value.float() for *_, values in steps for value in values.values()])
        numbers = iter(found.tolist())
        for step, keys, values in steps:
            step_numbers = {name: next(numbers) for name in values}
            if not all(map(math.isfinite, step_numbers.values())):
                raise NonFiniteLoss(self._message(step, keys, values))
            self.names.update(step_numbers)
            self.nonzero.update(name for name, number in step_numbers.items() if number != 0)

    @property
    def zero_terms(self) -> list[str]:
        """Loss terms of nonzero weight that have been 0 in every step so far."""
        return sorted(name for name in self.names - self.nonzero if name.startswith("loss/"))

    def _message(self, step: int, keys: tuple[str, ...], values: dict[str, Tensor]) -> str:
        bad = [f"{name} is {float(v)}" for name, v in values.items() if not v.isfinite()]
        saved = f" The last good state is {self._last}." if self._last.exists() else ""
        return (
            f"step {step}: {', '.join(bad)} on the samples {', '.join(keys)}.{saved} A smaller "
            "optimizer.lr or loss weight, or trainer.precision=fp32, may help."
        )


def largest(module: nn.Module) -> Float[Tensor, ""]:
    """Largest magnitude in a module's parameters and buffers; nan if there is one anywhere."""
    floats = [t.detach() for t in module.state_dict().values() if t.is_floating_point()]
    return torch.stack([t.abs().max().float() for t in floats if t.numel()]).max()
