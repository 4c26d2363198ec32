"""Random cells of each class or group, drawn without waiting for the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor

from uda_hydra.types import IGNORE

Permutation = Callable[[int], Int[Tensor, " n"]]
"""The order in which so many cells are considered; a random one by default."""


class Anchors(NamedTuple):
    """Embeddings that a loss compares with a memory; those that are not ``valid`` are no anchors.

    All anchors of a class stand in its row.
    """

    embedding: Float[Tensor, "k s d"]
    valid: Bool[Tensor, "k s"]


def sample_anchors(
    embedding: Float[Tensor, "b d h w"],
    label: Integer[Tensor, "b h w"],
    predicted: Integer[Tensor, "b h w"],
    *,
    num_classes: int,
    min_samples: int,
    max_samples: int,
    permute: Permutation | None = None,
) -> Anchors:
    """Equally many random cells of every class with more than ``min_samples`` of them.

    ``min_samples`` a class, and ``max_samples`` together, are the most. Half of a class's cells
    are hard ones, whose prediction is wrong, and come first; where one kind is too few, the other
    fills up. Wang et al., ICCV 2021, as in the release of ProCA.
    """
    # Groups 2 c and 2 c + 1: the hard and the easy cells of class c.
    group = (2 * label + (predicted == label)).where(label != IGNORE, 2 * num_classes)
    chosen, _ = first_of_each(group, 2 * num_classes, min_samples, permute)
    count = torch.zeros(2 * num_classes + 1, dtype=torch.long, device=label.device)
    flat = group.flatten().long()
    hard, easy = count.scatter_add_(0, flat, torch.ones_like(flat))[:-1].view(-1, 2).unbind(1)

    drawn = hard + easy > min_samples
    each = (max_samples // drawn.sum().clamp(min=1)).clamp(max=min_samples)
    half = each // 2
    from_hard = hard.where(hard < half, each - torch.minimum(easy, each - half))
    number = torch.arange(min_samples, device=label.device)
    is_hard = number < from_hard[:, None]
    place = number.where(is_hard, (number - from_hard[:, None]).clamp(min=0))
    pairs = chosen.view(num_classes, 2, min_samples)
    cell = pairs[:, 0].gather(1, place).where(is_hard, pairs[:, 1].gather(1, place))
    return Anchors(cells_at(embedding, cell), drawn[:, None] & (number < each))


def first_of_each(
    group: Integer[Tensor, "b h w"],
    groups: int,
    wanted: int,
    permute: Permutation | None = None,
) -> tuple[Int[Tensor, "g n"], Bool[Tensor, "g n"]]:
    """Up to ``wanted`` random cells of each group, as numbers of the flat batch, and which exist.

    Cells of another group than 0..groups-1 are left out. Nothing waits for the device.
    """
    flat = group.flatten().long()
    order = torch.randperm(len(flat), device=flat.device) if permute is None else permute(len(flat))
    known = flat.where((flat >= 0) & (flat < groups), groups)[order]
    sorted_group, index = known.sort(stable=True)
    count = torch.zeros(groups + 1, dtype=torch.long, device=flat.device)
    count.scatter_add_(0, sorted_group, torch.ones_like(sorted_group))
    start = count.cumsum(0) - count
    number = torch.arange(wanted, device=flat.device)
    place = (start[:-1, None] + number).clamp(max=len(flat) - 1)
    return order[index][place], number < count[:-1, None]


def cells_at(
    embedding: Float[Tensor, "b d h w"], cell: Int[Tensor, "g n"]
) -> Float[Tensor, "g n d"]:
    """The embeddings of cells, by their numbers in the flat batch."""
    size = embedding[0, 0].numel()
    return embedding.flatten(2)[cell // size, :, cell % size]
