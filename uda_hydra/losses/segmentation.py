"""Supervised segmentation: cross-entropy over labelled pixels."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor

from uda_hydra.losses.precision import full_precision
from uda_hydra.types import IGNORE, Prediction, upsample


def segmentation(
    logits: Float[Tensor, "b k h w"],
    label: Integer[Tensor, "b h2 w2"],
    weight: Float[Tensor, "b h2 w2"] | None = None,
    *,
    over: Literal["valid", "all"] = "valid",
    align_corners: bool = True,
) -> Float[Tensor, ""]:
    """Mean cross-entropy over the pixels that are not ignored, at the label's size; in [0, inf).

    Long et al., CVPR 2015; upsampled and averaged as in AdaptSegNet (Tsai et al., CVPR 2018).
    ``weight`` multiplies each pixel's cost and not the number of pixels. The sum is divided by the
    "valid" pixels or, as in DACS and its descendants and in CaCo's retraining, by "all" pixels, the
    ignored ones too. Without a labelled pixel it is 0 with zero gradient, where the releases
    return nan.
    """
    logits = upsample(full_precision(logits), label.shape[-2:], align_corners=align_corners)
    reduction = "sum" if weight is None else "none"
    cost = F.cross_entropy(logits, label.long(), ignore_index=IGNORE, reduction=reduction)
    total = cost if weight is None else (weight * cost).sum()
    if over == "all":
        return total / label.numel()
    # The clamp, and no ``if``: asking the device for the count would make the host wait.
    return total / (label != IGNORE).sum().clamp(min=1)


def supervised(prediction: Prediction, label: Integer[Tensor, "b h w"]) -> dict[str, Tensor]:
    """Segmentation terms of the heads there are: ``seg``, and ``seg_aux`` with an auxiliary one."""
    terms = {"seg": segmentation(prediction.main, label)}
    if prediction.aux is not None:
        terms["seg_aux"] = segmentation(prediction.aux, label)
    return terms
