"""SGD, AdamW and Adam for the players, the schedule, and the official repeated updates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from uda_hydra.settings import OptimizerSettings


def poly(step: int, *, horizon: int, power: float) -> float:
    """Share of the base rate at ``step`` (from 0): (1 - step / horizon) ** power; 0 beyond."""
    return max(0.0, 1 - step / horizon) ** power


def set_rates(optimizers: Iterable[Optimizer], decay: float) -> None:
    """Every group at ``decay`` times the rate it was built with."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * decay


def build_optimizers(
    players: dict[str, nn.Module], settings: OptimizerSettings
) -> dict[str, Optimizer]:
    """SGD or AdamW for the segmenter, Adam for other players; frozen parameters stay out."""
    return {
        name: _descent(module, settings) if name == "segmenter" else _adam(module, settings)
        for name, module in players.items()
    }


def _descent(segmenter: nn.Module, settings: OptimizerSettings) -> Optimizer:
    factors = {"backbone": 1.0, "heads": settings.head_lr_factor}
    groups = [
        {**group, "initial_lr": settings.lr * factors[group["name"]]}
        for group in segmenter.parameter_groups()
    ]
    if settings.algorithm == "adamw":
        return AdamW(groups, settings.lr, weight_decay=settings.weight_decay, fused=settings.fused)
    common = {
        "lr": settings.lr,
        "momentum": settings.momentum,
        "weight_decay": settings.weight_decay,
        "nesterov": settings.nesterov,
    }
    if settings.backbone_repeats:
        return RepeatedSGD(groups, accumulate_decay=settings.accumulate_decay, **common)
    return SGD(groups, **common, fused=settings.fused)


def _adam(adversary: nn.Module, settings: OptimizerSettings) -> Optimizer:
    group = {
        "params": list(adversary.parameters()),
        "name": "adversary",
        "initial_lr": settings.adversary_lr,
    }
    return Adam(
        [group], settings.adversary_lr, betas=tuple(settings.adversary_betas), fused=settings.fused
    )


class RepeatedSGD(SGD):
    """SGD that updates a parameter as often as the official code lists it, one after the other.

    Every repeat uses the same gradient: v <- momentum v + (g + decay p), p <- p - lr v, with v
    starting at 0. With ``accumulate_decay`` the decay is added to g in place, so that it piles up
    over the repeats, as torch up to 1.4 did. Every group has ``repeats``, a count per parameter.
    """

    def __init__(self, groups: list[dict], *, accumulate_decay: bool, **settings: Any) -> None:
        super().__init__(groups, **settings)
        self.accumulate_decay = accumulate_decay

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One training step: all the repeats of every parameter."""
        for group in self.param_groups:
            for parameter, repeats in zip(group["params"], group["repeats"], strict=True):
                if parameter.grad is not None:
                    self._update(parameter, repeats, group)

    def _update(self, parameter: Tensor, repeats: int, group: dict[str, Any]) -> None:
        state, gradient = self.state[parameter], parameter.grad
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        velocity, momentum = state["momentum_buffer"], group["momentum"]
        for _ in range(repeats):
            direction = gradient.add(parameter, alpha=group["weight_decay"])
            if self.accumulate_decay:
                gradient = direction
            velocity.mul_(momentum).add_(direction)
            change = direction.add(velocity, alpha=momentum) if group["nesterov"] else velocity
            parameter.add_(change, alpha=-group["lr"])
