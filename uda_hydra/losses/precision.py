"""Losses count in float32 at least, whatever autocast made of the network's output."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def full_precision(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Half-precision values as float32; float32 and float64 as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def probabilities(logits: Float[Tensor, "b k h w"]) -> Float[Tensor, "b k h w"]:
    """Softmax over the classes, in float32 at least."""
    return full_precision(logits).softmax(dim=1)
