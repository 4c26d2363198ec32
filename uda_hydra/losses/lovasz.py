"""Lovasz-Softmax (Berman et al., CVPR 2018): a smooth stand-in for the mean IoU."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from uda_hydra.losses.precision import full_precision
from uda_hydra.losses.segmentation import supervised
from uda_hydra.types import IGNORE, Prediction, upsample


def lovasz_softmax(
    logits: Float[Tensor, "b k h w"], label: Integer[Tensor, "b h2 w2"]
) -> Float[Tensor, ""]:
    """Mean over the classes that the labels show, in [0, 1]; all valid pixels count together.

    At the label's size. Without a labelled pixel it is 0 with zero gradient. As ProCA (Jiang et
    al., ECCV 2022) uses it; Berman et al., Alg. 1.
    """
    logits = upsample(full_precision(logits), label.shape[-2:])
    probability = logits.softmax(dim=1).transpose(0, 1).flatten(1)  # k n
    label = label.flatten()
    valid = label != IGNORE
    truth = label == torch.arange(len(probability), device=label.device)[:, None]
    error = (truth.to(probability.dtype) - probability).abs() * valid

    # Ignored pixels come last, where they change no weight of another.
    order = error.detach().masked_fill(~valid, -1).argsort(dim=1, descending=True)
    weight = _weights(truth.gather(1, order)).to(error.dtype)
    loss = (error.gather(1, order) * weight).sum(dim=1)
    present = truth.any(dim=1)
    return (loss * present).sum() / present.sum().clamp(min=1)


def supervised_lovasz(prediction: Prediction, label: Integer[Tensor, "b h w"]) -> dict[str, Tensor]:
    """The terms of ``supervised``, and ``lov`` of the main head; it is enlarged once for both."""
    main = upsample(full_precision(prediction.main), label.shape[-2:])
    terms = supervised(prediction._replace(main=main), label)
    return terms | {"lov": lovasz_softmax(main, label)}


def _weights(truth: Bool[Tensor, "k n"]) -> Float[Tensor, "k n"]:
    """Growth of the Jaccard loss with each further pixel, those of the largest error first.

    In closed form: differences of neighbouring values would lose all digits.
    """
    size = truth.sum(dim=1, keepdim=True)
    common = size - truth.cumsum(dim=1)
    union = size + (~truth).cumsum(dim=1)
    missed = 1 / union
    invented = common / (union * (union - 1).clamp(min=1))
    return missed.where(truth, invented)
