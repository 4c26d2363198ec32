"""Soft pseudo labels that thresholds by class have sharpened. Zou et al., ICCV 2019 (CRST)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from uda_hydra.losses.precision import full_precision
from uda_hydra.types import IGNORE, upsample


def entropy_regularized_label(
    probability: Float[Tensor, "b k h w"], thresholds: Float[Tensor, " k"], *, alpha: float
) -> tuple[Float[Tensor, "b k h w"], Bool[Tensor, "b h w"]]:
    """LRENT: labels (p / threshold)^(1 / alpha) that sum to 1, and where they may be used.

    That is where their regularised loss is lower than without a label: where the sum is above 1.
    """
    tiny = torch.finfo(probability.dtype).tiny
    log_ratio = (probability.clamp(min=tiny) / thresholds.clamp(min=tiny)[:, None, None]).log()
    log_sharp = log_ratio / alpha
    return log_sharp.softmax(dim=1), log_sharp.logsumexp(dim=1) > 0


def soft_cross_entropy(
    logits: Float[Tensor, "b k _ _"],
    soft_label: Float[Tensor, "b k h w"],
    label: Integer[Tensor, "b h w"],
) -> Float[Tensor, ""]:
    """Mean of -s ln p over the pixels whose hard ``label`` is not ignored, 0 without one.

    The soft labels are made to sum to 1, which views of them need not do.
    """
    log_probability = upsample(full_precision(logits), tuple(label.shape[-2:])).log_softmax(dim=1)
    valid = label != IGNORE
    total = soft_label.sum(dim=1).clamp(min=1e-6)
    loss = -(soft_label * log_probability).sum(dim=1) / total
    return (loss * valid).sum() / valid.sum().clamp(min=1)
