"""AdaBN: batch norm with the target's statistics (Li et al., 2016, arXiv 1603.04779)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from uda_hydra.methods.base import Passes, Preparation, require
from uda_hydra.types import Target

Moments = Float[Tensor, "2 channels"]
"""Mean and variance (divisor n) of every channel."""


class AdaBN(Preparation):
    """Re-estimates the statistics of every batch norm on the target; nothing is trained.

    What it gains is what batch statistics alone are worth.
    """

    def __init__(self, segmenter: nn.Module, *, batch_size: int) -> None:
        super().__init__(segmenter)
        require("batch_size", batch_size, "1 or more", batch_size >= 1)
        self.batch_size = batch_size
        if not self._norms():
            raise ValueError(
                "AdaBN needs batch norm whose statistics are estimated in training, and this "
                "network has none: choose another model or model.batch_norm (in a table, "
                "~stages.adabn leaves the row out)"
            )

    def prepare(self, passes: Passes) -> None:
        """Alg. 1: mean and variance of each channel over all target images, without labels."""
        batches = passes.run(
            "batch_norm",
            over="target",
            batch=self.batch_size,
            train=True,
            compute=self._batch_moments,
        )
        domain = passes.summary("domain", _pool, of=batches)
        for name, norm in self._norms().items():
            mean, variance = domain[name]
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)

    def _norms(self) -> dict[str, nn.BatchNorm2d]:
        """The batch norms that estimate statistics, by name; a frozen one stays in eval mode."""
        modules = self.segmenter.train().named_modules()
        return {n: m for n, m in modules if isinstance(m, nn.BatchNorm2d) and m.training}

    def _batch_moments(self, target: Target) -> dict[str, Tensor]:
        """What each batch norm sees of a batch; every image has a row, that of its batch."""
        moments: dict[str, Moments] = {}

        def keep(name: str, maps: Float[Tensor, "b channels h w"]) -> None:
            variance, mean = torch.var_mean(maps.float(), dim=(0, 2, 3), correction=0)
            moments[name] = torch.stack([mean, variance])

        hooks = [
            norm.register_forward_pre_hook(lambda _, inputs, name=name: keep(name, *inputs))
            for name, norm in self._norms().items()
        ]
        self.segmenter(target.image)
        for hook in hooks:
            hook.remove()
        return {name: value.expand(len(target.image), 2, -1) for name, value in moments.items()}


def _pool(batches: Iterator[dict[str, Moments]]) -> dict[str, Moments]:
    """The moments of all images together: the variance of the whole is within plus between."""
    kept = [*batches]
    moments = {name: torch.stack([one[name] for one in kept]).double() for name in kept[0]}
    return {name: _whole(one[:, 0], one[:, 1]).float() for name, one in moments.items()}


def _whole(means: Float[Tensor, "n c"], variances: Float[Tensor, "n c"]) -> Moments:
    within, between = variances.mean(dim=0), means.var(dim=0, correction=0)
    return torch.stack([means.mean(dim=0), within + between])
