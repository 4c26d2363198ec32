"""Losses count in float32 at least, whatever autocast made of the network's output."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from uda_hydra.types import Prediction, upsample


def full_precision(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Half-precision values as float32; float32 and float64 as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def probabilities(logits: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k h w"]:
    """Softmax over the classes, in float32 at least."""
    return full_precision(logits).softmax(dim=1)


def logits(prediction: Prediction, size: Sequence[int]) -> dict[str, Float[Tensor, "b k h w"]]:
    """Those of ``main`` and, where there is one, of ``aux``: in float32, at (height, width)."""
    heads = {"main": prediction.main, "aux": prediction.aux}
    return {
        head: upsample(full_precision(map), tuple(size))
        for head, map in heads.items()
        if map is not None
    }
