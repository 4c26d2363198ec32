"""Contrast between pixels and what is remembered of each class: keys, or one centre."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor

from uda_hydra.losses.precision import full_precision
from uda_hydra.types import IGNORE

EMPTY_SLOT = -1e30
"""Logarithm of the weight of an empty slot: nothing after exp, yet finite, so gradients are too."""

SHORTEST = 1e-12
"""Vectors are divided by their length, or by this if they are shorter."""
SMALLEST = 1e-6
"""What CFContra's release adds to a sum of exponentials, and to a probability under the logarithm.

The second one caps the loss at 13.8 = -ln 1e-6.
"""


def category_contrast(
    query: Float[Tensor, "b d h w"],
    label: Integer[Tensor, "b h w"],
    keys: Float[Tensor, "c m d"],
    reliability: Float[Tensor, "c m"],
    *,
    temperature: float,
    base_temperature: float,
    mean: str = "keys",
) -> Float[Tensor, ""]:
    """Draws each cell towards the keys of its category and away from all others; in [0, inf).

    CaCo (Huang et al., CVPR 2022), as released. With unit vectors q, k, temperature t and
    reliability r, s_ij = q_i . k_j / t and l_ij = s_ij + ln r_j - ln sum_m r_m exp(s_im), it is
    -(t / base) times the sum of l_ij over each cell's own keys, divided by the number of cells
    and by the number of all keys (``mean="keys"``) or of the cell's own (``mean="positives"``).

    ``keys`` are constants of any length, class by class; an empty slot has reliability 0 and a key
    of zeros. Cells of another label than 0..c-1 (ignored ones) or without a key add 0 but are
    counted.
    """
    with torch.autocast(query.device.type, enabled=False):  # 1 / t is large: no half precision
        query = F.normalize(full_precision(query), dim=1).flatten(2)  # b d n
        keys = F.normalize(keys.detach().to(query.dtype), dim=2) / temperature
        reliability = reliability.detach().to(query.dtype)
        filled = reliability > 0
        log_weight = reliability.log().clamp(min=EMPTY_SLOT)

        scores = keys.flatten(0, 1) @ query + log_weight.flatten()[:, None]  # b cm n
        log_total = scores.logsumexp(dim=1, keepdim=True)  # b 1 n

        # A sum over the own keys of l_ij needs their sum only, never a cells x keys mask.
        count = filled.sum(dim=1)[:, None]  # c 1
        weight_sum = (log_weight * filled).sum(dim=1)[:, None]  # c 1
        attraction = keys.sum(dim=1) @ query + weight_sum - count * log_total  # b c n

    classes = torch.arange(len(keys), device=label.device)[:, None]
    own = label.flatten(1)[:, None] == classes  # b c n
    divisor = count.clamp(min=1) if mean == "positives" else filled.sum().clamp(min=1)
    cells = label.numel()
    return -(temperature / base_temperature) * (attraction * own / divisor).sum() / cells


def prototype_contrast(
    features: Float[Tensor, "b d h w"],
    label: Integer[Tensor, "b h w"],
    prototypes: Float[Tensor, "k d"],
    *,
    temperature: float,
) -> Float[Tensor, ""]:
    """Cross-entropy of a softmax over cosines with the prototypes, mean of the labelled cells.

    In [0, inf); ln k is chance. ProCA (Jiang et al., ECCV 2022), Eq. 5. ``prototypes`` are
    constants; one of length 0 has the cosine 0. Without a labelled cell it is 0.
    """
    with torch.autocast(features.device.type, enabled=False):
        features, keys = unit_keys(features, prototypes)
        scores = Cosines.apply(features, keys)[0] / temperature
    return cell_entropy(scores, label)


def gaussian_contrast(
    features: Float[Tensor, "b d h w"],
    label: Integer[Tensor, "b h w"],
    mean: Float[Tensor, "k d"],
    variance: Float[Tensor, "k d"],
    *,
    temperature: float,
) -> Float[Tensor, ""]:
    """``prototype_contrast`` against all samples of each class's Gaussian: SDCA (Li et al., 2021).

    As released: variances have length 1, and the temperature divides them a second time.
    """
    with torch.autocast(features.device.type, enabled=False):
        features, keys = unit_keys(features, mean)
        spread = F.normalize(variance.detach().to(keys.dtype), dim=1) / temperature
        features = F.normalize(features, dim=1)
        scatter = spread @ features.square() / (2 * temperature)  # b k n
        scores = keys @ features / temperature + scatter
    valid = (label != IGNORE).flatten(1)
    own = scatter.gather(1, label.flatten(1).where(valid, 0).long()[:, None])[:, 0] * valid
    return cell_entropy(scores, label) + own.sum() / valid.sum().clamp(min=1)


def from_chance(contrasts: Mapping[str, Tensor], choices: int) -> dict[str, Tensor]:
    """Each contrast minus its value where all ``choices`` are equally likely, ln of their number.

    By names for ``Method.monitor``; 0 means that the contrast has not learned anything.
    """
    chance = math.log(choices)
    return {f"from_chance/{name}": value.detach() - chance for name, value in contrasts.items()}


class Similarity(NamedTuple):
    """Of the cells of features to centres."""

    cosine: Float[Tensor, "b c h w"]
    length: Float[Tensor, "b 1 h w"]
    """Of the features; a constant."""


def similarity(features: Float[Tensor, "b d h w"], centres: Float[Tensor, "c d"]) -> Similarity:
    """Cosine of every cell with every centre, of length 1 or 0; in float32 at least.

    Centres are constants. One matrix product, which labels and losses can share.
    """
    with torch.autocast(features.device.type, enabled=False):
        rows = full_precision(features).flatten(2)
        found = Cosines.apply(rows, centres.detach().to(rows.dtype))
    return Similarity(*(one.unflatten(2, features.shape[-2:]) for one in found))


class Cosines(torch.autograd.Function):
    """Cosines (b, k, n) of features (b, d, n) with keys of length 1, and the features' lengths.

    Differentiable by the features alone. The product is divided by the lengths, not the features
    before it, so nothing of the features' size is made but their gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, features: Float[Tensor, "b d n"], keys: Float[Tensor, "k d"]
    ) -> tuple[Float[Tensor, "b k n"], Float[Tensor, "b 1 n"]]:
        """A cell of length 0 has the cosine 0 with every key."""
        # In parts that stay in the cache.
        square = sum(part.square().sum(dim=1, keepdim=True) for part in features.split(64, dim=1))
        length = square.sqrt().clamp(min=SHORTEST)
        cosine = keys @ features / length
        ctx.save_for_backward(features, keys, length, cosine)
        ctx.mark_non_differentiable(length)
        return cosine, length

    @staticmethod
    def backward(ctx: Any, gradient: Float[Tensor, "b k n"], _: Tensor) -> tuple[Tensor, None]:
        """(key - cosine * unit feature) / length, weighted by the gradient."""
        features, keys, length, cosine = ctx.saved_tensors
        gradient = gradient / length
        along = (gradient * cosine).sum(dim=1, keepdim=True) / length
        return (keys.T @ gradient).addcmul_(features, along, value=-1), None


def unit_keys(
    features: Float[Tensor, "b d h w"], keys: Float[Tensor, "k d"]
) -> tuple[Float[Tensor, "b d n"], Float[Tensor, "k d"]]:
    """The features cell by cell, and the keys as constants of length 1, in full precision."""
    features = full_precision(features).flatten(2)
    return features, F.normalize(keys.detach().to(features.dtype), dim=1)


def cell_entropy(
    scores: Float[Tensor, "b k n"], label: Integer[Tensor, "b h w"]
) -> Float[Tensor, ""]:
    """Mean cross-entropy of the labelled cells; 0 without one."""
    label = label.flatten(1).long()
    total = F.cross_entropy(scores, label, ignore_index=IGNORE, reduction="sum")
    return total / (label != IGNORE).sum().clamp(min=1)


def centre_contrast(
    cosine: Float[Tensor, "b c h w"],
    label: Integer[Tensor, "b h w"],
    temperature: float,
    *,
    stable: bool = False,
) -> Float[Tensor, ""]:
    """Draws each pixel towards the centre of its class and away from all others; in [0, 13.8].

    CFContra (arXiv 2103.12371), as released. With v = cosine / temperature and m the mean of all v,
    q_c = exp(v_c - m) / (sum_k exp(v_k - m) + 1e-6), and the loss is the mean of
    -ln(q + 1e-6) at the labels. Under q = 1e-6 its gradient vanishes. ``stable``: cross-entropy of
    v instead, in [0, inf). At chance level either is ln c.

    Labels outside 0..c-1 do not count; without any other the loss is 0, and so is its gradient.
    """
    classes = cosine.shape[1]
    known = (label >= 0) & (label < classes)
    scores = full_precision(cosine) / temperature
    log_total = scores.logsumexp(dim=1)
    own = scores.gather(1, label.where(known, 0)[:, None])[:, 0] - log_total
    if not stable:
        # 1 / (1 + 1e-6 exp(m - log_total)) is what the first 1e-6 does; as a sigmoid it cannot
        # overflow, whatever the temperature.
        damped = torch.sigmoid(log_total - scores.mean() - math.log(SMALLEST))
        own = (own.exp() * damped + SMALLEST).log()
    return -own.where(known, 0.0).sum() / known.sum().clamp(min=1)
