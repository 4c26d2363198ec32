"""The category dictionary in the layout of the official release."""

from __future__ import annotations

import torch
from torch import Tensor

from uda_hydra.memory import CategoryQueue


def oldest_first(queue: CategoryQueue) -> tuple[Tensor, Tensor, Tensor]:
    """Keys, labels (-1 where empty) and probabilities; a class has its newest key last."""
    steps = torch.arange(queue.length)
    slot = (queue.pushed[:, None] + steps) % queue.length
    rows = torch.arange(len(slot))[:, None]
    labels = rows.expand_as(slot).where(queue.filled[rows, slot], -1)
    return queue.keys[rows, slot], labels, queue.probability[rows, slot]
