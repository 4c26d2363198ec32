"""Which parts of a backbone's batch norm are trained, and which statistics it uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class StillBatchNorm(nn.BatchNorm2d):
    """Batch norm that uses its running statistics in training too, and never updates them."""

    def __init__(self, channels: int, **options: Any) -> None:
        super().__init__(channels, **options)
        self.eval()

    def train(self, mode: bool = True) -> StillBatchNorm:
        """Stay in eval mode."""
        return super().train(False)


class FixedBatchNorm(nn.Module):
    """Batch norm without parameters: scale, shift and statistics are buffers and never change.

    ProCA's release divides by the square root of the variance without an epsilon, and so do we.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """An affine map of every channel."""
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=0.0)


class Policy(NamedTuple):
    """A batch norm layer, and the name prefixes of the layers whose scale and shift are frozen."""

    layer: Callable[[int], nn.Module]
    frozen: tuple[str, ...]


POLICIES = {
    "trained": Policy(nn.BatchNorm2d, frozen=()),
    # AdaptSegNet and its descendants: scale and shift are frozen, the statistics the batch's.
    "affine_frozen": Policy(nn.BatchNorm2d, frozen=("",)),
    # MaxSquare and Adversarial-DA-Exp.
    "stem_frozen": Policy(nn.BatchNorm2d, frozen=("bn1", "stem.")),
    # ProCA's "v2" extractor: the statistics are the stored ones.
    "still": Policy(StillBatchNorm, frozen=()),
    # ProDA's freeze_bn.
    "frozen": Policy(StillBatchNorm, frozen=("",)),
    # ProCA's FREEZE_BN.
    "fixed": Policy(FixedBatchNorm, frozen=()),
}
"""What ``model.batch_norm`` may name."""


def policy(name: str) -> Policy:
    """The entry of ``POLICIES``."""
    if name not in POLICIES:
        raise ValueError(f"model.batch_norm must be one of {', '.join(POLICIES)}, got {name!r}")
    return POLICIES[name]


def freeze(module: nn.Module, chosen: Policy) -> None:
    """Freeze scale and shift of the layers that the policy names."""
    for name, child in module.named_modules():
        if isinstance(child, nn.BatchNorm2d) and name.startswith(chosen.frozen):
            child.requires_grad_(False)
