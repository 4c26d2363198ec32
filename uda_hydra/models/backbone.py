"""The base of every backbone: from an image to four maps, from fine to coarse."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from uda_hydra.models.checkpoints.weight_layout import WeightLayout


class Backbone(nn.Module):
    """Called with an image, it returns the maps of its four stages, ``channels`` wide."""

    random: ClassVar[bool] = False
    """Whether a block draws random numbers when it trains."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.channels = tuple(channels)
        """Output channels of the stages."""
        self.mask_token: nn.Parameter | None = None
        """What stands for a hidden token, where the network can hide some."""
        self.checkpointing = False
        """Recompute each block in the backward pass instead of storing its activations."""

    def repeats(self, name: str) -> int:
        """How often the release's optimiser lists the parameter ``name``."""
        return 1

    def layout(self, tensors: Mapping[str, Tensor]) -> WeightLayout | None:
        """The layout of a file with these tensors, where only the network itself knows it."""
        return None

    def in_order(self) -> Iterable[nn.Module]:
        """The children, in the order in which an image passes them."""
        return self.children()

    def depths(self) -> dict[nn.Parameter, int]:
        """How many blocks an image has passed behind each parameter: 0 in the stem.

        The blocks are the items of the children that are lists; what stands between two lists is as
        deep as the block before it.
        """
        depth, depths = 0, {}
        for child in self.in_order():
            listed = isinstance(child, nn.Sequential | nn.ModuleList)
            for block in child if listed else [child]:
                parameters = [*block.parameters()]
                # A norm in a list belongs to the layer before it.
                depth += listed and any(p.dim() > 1 for p in parameters)
                depths |= dict.fromkeys(parameters, depth)
        return depths

    def run(self, blocks: Iterable[nn.Module], x: Float[Tensor, "b ..."]) -> Float[Tensor, "b ..."]:
        """``x`` through one block after the other, recomputed later if ``checkpointing``."""
        for block in blocks:
            if self.checkpointing and torch.is_grad_enabled():
                x = recomputed(block, x, random=self.random)
            else:
                x = block(x)
        return x


def recomputed(
    block: nn.Module, x: Float[Tensor, "b ..."], *, random: bool
) -> Float[Tensor, "b ..."]:
    """``block(x)`` that stores its input alone and is computed again for the backward pass.

    With ``random`` the second pass draws the same numbers as the first, which costs time.
    """

    @contextmanager
    def statistics_frozen() -> Iterator[None]:
        # The second pass sees the same batch again, which must not count twice.
        norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d) and m.training]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 0.0
        try:
            yield
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
                norm.num_batches_tracked -= 1

    return checkpoint(
        block,
        x,
        use_reentrant=False,
        preserve_rng_state=random,
        context_fn=lambda: (nullcontext(), statistics_frozen()),
    )
