"""Label maps from logits, at the size of the truth."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from uda_hydra.types import upsample


def predict_labels(
    logits: Float[Tensor, "1 k h w"], size: tuple[int, int]
) -> UInt8[Tensor, "h2 w2"]:
    """Most likely class of each pixel after upsampling to ``size`` (height, width).

    On the CPU the full-size logits are never stored: at 19 classes and 1024x2048 they are 160 MB,
    and writing and reading them takes most of the time.
    """
    if logits.device.type == "cpu":
        return _labels_by_rows(logits[0].float(), size)
    return upsample(logits.float(), size).argmax(dim=1)[0].to(torch.uint8)


def _labels_by_rows(
    logits: Float[Tensor, "k h w"], size: tuple[int, int]
) -> UInt8[Tensor, "h2 w2"]:
    """Upsample the width at once, then the rows between two rows of cells at a time."""
    height = logits.shape[1]
    wide = upsample(logits[None], (height, size[1]))[0]
    above, weight = _positions(height, size[0])
    labels = torch.empty(size, dtype=torch.uint8)
    start = 0
    for row, count in enumerate(torch.bincount(above, minlength=height).tolist()):
        block = slice(start, start + count)
        below = min(row + 1, height - 1)
        labels[block] = _winners(wide[:, row], wide[:, below], weight[block, None])
        start += count
    return labels


def _positions(cells: int, pixels: int) -> tuple[Tensor, Tensor]:
    """For each of ``pixels`` rows: the row of cells above it and the weight of the one below."""
    # In float32, as torch computes them, so that near ties fall the same way.
    step = torch.tensor((cells - 1) / max(pixels - 1, 1), dtype=torch.float32)
    position = torch.arange(pixels, dtype=torch.float32) * step
    above = position.long().clamp(max=cells - 1)
    return above, position - above


def _winners(
    above: Float[Tensor, "k w"], below: Float[Tensor, "k w"], weight: Float[Tensor, "r 1"]
) -> UInt8[Tensor, "r w"]:
    """Argmax over k of the rows between two rows, by a running maximum; ties go to the first."""
    # Product first, then the fused addition: the order in which torch's own upsampling rounds.
    rest = 1 - weight
    best = (below[0] * weight).addcmul_(above[0], rest)
    label = torch.zeros_like(best, dtype=torch.uint8)
    value, wins = torch.empty_like(best), torch.zeros_like(label)
    # Comparing is numpy's part: it is vectorised there, which makes it eight times faster.
    values, bests, won = value.numpy(), best.numpy(), wins.numpy().view(bool)
    for k in range(1, len(above)):
        torch.mul(below[k], weight, out=value).addcmul_(above[k], rest)
        np.greater(values, bests, out=won)
        # Labels only grow, so the larger one is the later winner.
        torch.maximum(label, wins.mul_(k), out=label)
        torch.maximum(best, value, out=best)
    return label
