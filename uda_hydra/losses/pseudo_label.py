"""Labels made of a network's own predictions, and where they may be believed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from uda_hydra.losses.contrast import SHORTEST, Similarity
from uda_hydra.losses.precision import full_precision
from uda_hydra.types import IGNORE, shrink_label, upsample


def confident_label(
    probability: Float[Tensor, "b k h w"], threshold: float, *, inclusive: bool
) -> Integer[Tensor, "b h w"]:
    """The most probable class where it is more probable than the threshold, elsewhere ignored.

    ``inclusive``: a probability equal to the threshold is enough (CaCo's release), or not
    (MaxSquare's).
    """
    confidence, label = probability.max(dim=1)
    confident = confidence >= threshold if inclusive else confidence > threshold
    return label.where(confident, IGNORE)


def sure_label(
    confidence: Float[Tensor, "*shape"],
    label: Integer[Tensor, "*shape"],
    thresholds: Float[Tensor, " k"],
) -> Integer[Tensor, "*shape"]:
    """The label where the confidence reaches its class's threshold, elsewhere ignored."""
    return label.where(confidence >= thresholds.to(label.device)[label], IGNORE)


def balanced_label(
    probability: Float[Tensor, "b k h w"], thresholds: Float[Tensor, " k"]
) -> Integer[Tensor, "b h w"]:
    """The class whose probability is the largest multiple of its threshold; ignored below 1.

    CBST (Zou et al., ECCV 2018); it can differ from the most probable.
    """
    ratio, label = (probability / thresholds[:, None, None]).max(dim=1)
    return label.where(ratio >= 1, IGNORE)


MASKS = ("logit", "prob")
"""What a threshold is compared with: the largest logit, or the largest probability."""


def own_label(
    logits: Float[Tensor, "b k h w"], threshold: float, *, on: str
) -> Integer[Tensor, "b h w"]:
    """The most probable class where its logit (or probability) reaches the threshold.

    ``on`` is one of ``MASKS``. Elsewhere ignored; a constant. ProCA (Jiang et al., ECCV 2022)
    compares the logit, as released.
    """
    logits = full_precision(logits.detach())
    scores = logits.softmax(dim=1) if on == "prob" else logits
    return confident_label(scores, threshold, inclusive=True)


def guiding_label(
    main: Float[Tensor, "b k h w"], aux: Float[Tensor, "b k h w"], threshold: float
) -> Integer[Tensor, "b h w"]:
    """Labels for the auxiliary head: of both heads' mean where either is confident.

    MaxSquare (Chen et al., ICCV 2019), Sec. 3.5.
    """
    confident = (main.amax(dim=1) > threshold) | (aux.amax(dim=1) > threshold)
    return (main + aux).argmax(dim=1).where(confident, IGNORE)


def label_shares(label: Integer[Tensor, "b h w"], num_classes: int) -> dict[str, Float[Tensor, ""]]:
    """Shares of all pixels that carry a pseudo label: of any class, and of each by its number."""
    index = label.flatten().long()
    index = index.where(index != IGNORE, num_classes)
    count = torch.zeros(num_classes + 1, dtype=torch.long, device=label.device)
    shares = count.scatter_add_(0, index, torch.ones_like(index))[:-1] / label.numel()
    named = {f"pseudo_share/{number}": share for number, share in enumerate(shares)}
    return {"pseudo_share/all": shares.sum()} | named


def nearest_centre(
    seen: Similarity, centres: Float[Tensor, "c d"], threshold: float | None
) -> Integer[Tensor, "b h w"]:
    """The class of the nearest centre, ignored where the second is less than ``threshold`` farther.

    CFContra (arXiv 2103.12371). Distances are Euclidean, of features that are not normalised;
    ``seen`` is their similarity to the centres. None rejects no pixel. A row of zeros is a class
    without a centre, which is never the nearest; equal distances give the lower class.
    """
    norm = centres.square().sum(dim=1)[:, None, None]
    cosine, length = seen.cosine.detach(), seen.length
    # Squared distances without the pixel's own length, so that the margin suffers no cancellation.
    offset = (norm - 2 * length * cosine).where(norm > 0, torch.inf)
    label = offset.argmin(dim=1)
    first, second = offset.topk(2, dim=1, largest=False).values.unbind(1)
    known = first < torch.inf
    if threshold is not None:
        squared = length[:, 0].square()
        distances = [(squared + near).clamp(min=0).sqrt() for near in (first, second)]
        far = second - first >= threshold * sum(distances)
        # The only class that has a centre has no rival.
        known &= (second == torch.inf) | far
    return label.where(known, IGNORE)


def per_channel(features: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h w"]:
    """Every channel divided by its Euclidean norm over all pixels of the batch (CFContra)."""
    norm = torch.linalg.vector_norm(full_precision(features), dim=(0, 2, 3), keepdim=True)
    return features / norm.clamp(min=SHORTEST)


def network_label(
    logits: Float[Tensor, "b c h w"], image_size: Sequence[int], size: Sequence[int]
) -> Integer[Tensor, "b h2 w2"]:
    """The main head's class on the features' grid, by way of the image's size as in the release."""
    label = upsample(full_precision(logits), tuple(image_size)).argmax(dim=1)
    return shrink_label(label, tuple(size))


def agreeing_label(
    logits: Float[Tensor, "b c h w"], label: Integer[Tensor, "b h2 w2"]
) -> Integer[Tensor, "b h w"]:
    """The label on the logits' grid where the prediction is right, ignored elsewhere."""
    small = shrink_label(label, tuple(logits.shape[-2:]))
    return small.where(small == logits.argmax(dim=1), IGNORE)


def confident_share(
    confidence: Float[Tensor, "b h w"], threshold: float, *, over: Literal["batch", "image"]
) -> Float[Tensor, "#b 1 1"]:
    """Share of the pixels that are at least as probable as the threshold, which weighs all of them.

    Of the whole "batch", as in the release of DACS (Tranheden et al., WACV 2021) and of its
    descendants, or of each "image", as in the paper.
    """
    sure = (confidence >= threshold).to(confidence.dtype)
    return sure.mean(dim=(0, 1, 2) if over == "batch" else (1, 2), keepdim=True)
