"""One optimiser for each player, its parameter groups, and the official repeated updates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from uda_hydra.engine.schedule import rate_factor
from uda_hydra.methods.base import Player
from uda_hydra.models.segmenter import NORMS, ParameterGroup
from uda_hydra.settings import OptimizerSettings


def set_rates(optimizers: Iterable[Optimizer], step: int, settings: OptimizerSettings) -> None:
    """Every group at its own rate times the schedule's factor for ``step``."""
    factor = rate_factor(
        step,
        horizon=settings.horizon,
        power=settings.power,
        warmup_steps=settings.warmup_steps,
        warmup_start=settings.warmup_start,
        warmup_decays=settings.warmup_decays,
    )
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor


def build_optimizers(
    players: Mapping[str, Player], settings: OptimizerSettings
) -> dict[str, Optimizer]:
    """The optimiser of each player, by its kind; frozen parameters stay out."""
    return {name: _build(name, player, settings) for name, player in players.items()}


def _build(name: str, player: Player, settings: OptimizerSettings) -> Optimizer:
    match player.kind:
        case "segmenter":
            return _descent(segmenter_groups(player.module, settings), settings)
        case "head":
            rate = settings.lr * settings.head_lr_factor
            undecayed = _norms(player.module) if settings.decay_norms == "none" else set()
            groups = _groups(_whole(name, player.module), rate, undecayed)
            return _descent(groups, settings)
        case "discriminator":
            rate, betas = settings.discriminator_lr, tuple(settings.discriminator_betas)
            groups = _groups(_whole(name, player.module), rate)
            return Adam(groups, rate, betas=betas, fused=settings.fused)
        case _:
            raise ValueError(f"player {name}: there is no optimiser for the kind {player.kind!r}")


def _whole(name: str, module: nn.Module) -> ParameterGroup:
    """All trainable parameters of a module."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    return ParameterGroup(name=name, params=parameters, repeats=[1] * len(parameters))


def _descent(groups: list[dict[str, Any]], settings: OptimizerSettings) -> Optimizer:
    """The algorithm that trains the segmenter and every other learnable head."""
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


def segmenter_groups(segmenter: nn.Module, settings: OptimizerSettings) -> list[dict[str, Any]]:
    """The segmenter's groups "backbone" and "heads", split further where a rule asks for it.

    Heads learn at ``head_lr_factor`` times the rate; norms that ``decay_norms`` leaves out have no
    weight decay; the backbone's block k of n learns at ``layer_decay`` ** (n + 1 - k) of the rate.
    """
    spared = _norms(segmenter) if settings.decay_norms != "all" else set()
    factors = _layer_factors(segmenter.backbone, settings.layer_decay)
    groups = []
    for part in segmenter.parameter_groups():
        heads = part["name"] == "heads"
        rate = settings.lr * (settings.head_lr_factor if heads else 1.0)
        undecayed = set() if heads and settings.decay_norms == "heads" else spared
        groups += _groups(part, rate, undecayed, factors)
    return groups


def _groups(
    part: ParameterGroup,
    rate: float,
    undecayed: Set[nn.Parameter] = frozenset(),
    factors: Mapping[nn.Parameter, float] = {},
) -> list[dict[str, Any]]:
    """Groups of an optimiser: a part's parameters by whether they decay and by their rates."""
    groups: dict[tuple[bool, float], dict[str, Any]] = {}
    for parameter, repeats in zip(part["params"], part["repeats"], strict=True):
        decays, factor = parameter not in undecayed, factors.get(parameter, 1.0)
        group = groups.setdefault(
            (decays, factor),
            {"name": part["name"], "params": [], "repeats": [], "initial_lr": rate * factor}
            | ({} if decays else {"weight_decay": 0.0}),
        )
        group["params"].append(parameter)
        group["repeats"].append(repeats)
    return list(groups.values())


def _norms(module: nn.Module) -> set[nn.Parameter]:
    return {p for m in module.modules() if isinstance(m, NORMS) for p in m.parameters()}


def _layer_factors(backbone: nn.Module, decay: float) -> dict[nn.Parameter, float]:
    """``decay`` to the power of the number of blocks between a parameter's own and the heads."""
    if decay == 1:
        return {}
    depths = backbone.depths()
    above = max(depths.values()) + 1
    return {parameter: decay ** (above - depth) for parameter, depth in depths.items()}


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
