"""Confidence thresholds by class from counts, so that no image's probabilities are kept.

A pass counts the confidences in bins, which say in which one the wanted order statistic lies. The
exact value is found by a second pass that collects the values of those bins alone. Where counts are
kept for each image there are fewer bins, and the lower edge is taken: bins even in log-odds hold
few of a class's pixels each, however sure the network is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int, Int64, Integer
from torch import Tensor

FINE = 2**16
"""Number of even bins. A power of two: which bin a float32 is in suffers no rounding."""
EDGES = torch.linspace(-6, 17, 2**12, dtype=torch.float64).sigmoid().float()
"""Lower edges of the bins that are even in log-odds. The first is that of all that is less sure
than the most probable of 255 classes can be, the last that of 1 alone."""
EDGES[0], EDGES[-1] = 0, 1


class Place(NamedTuple):
    """Where each class's order statistic is: in the bin number ``bin``, at ``rank`` from below."""

    count: Int64[Tensor, " k"]
    """Pixels predicted as the class."""
    bin: Int64[Tensor, " k"]
    rank: Int64[Tensor, " k"]


def confidence_histogram(
    confidence: Float[Tensor, "*shape"], label: Integer[Tensor, "*shape"], num_classes: int
) -> Int64[Tensor, "k bins"]:
    """How many pixels of each class have a confidence in [0, 1] in each even bin, from below."""
    return _histogram(bin_of(confidence), label, num_classes, FINE)


def image_histograms(probability: Float[Tensor, "b k h w"]) -> Int[Tensor, "b k bins"]:
    """How sure the pixels of each class are in each image, in the bins of ``EDGES``."""
    confidence, label = probability.float().max(dim=1)
    bin = torch.bucketize(confidence, EDGES.to(confidence.device), right=True) - 1
    images = zip(bin, label, strict=True)
    classes = probability.shape[1]
    return torch.stack([_histogram(b, k, classes, len(EDGES)).int() for b, k in images])


def bins_at(histogram: Int64[Tensor, "k bins"], percent: float) -> Place:
    """The place of the value number round(percent * n) of n, from 0, half to even, at most n - 1.

    ProCA (Jiang et al., ECCV 2022) and FDA (Yang and Soatto, CVPR 2020); the releases' number may
    lie behind the last.
    """
    count = histogram.sum(dim=1)
    number = torch.minimum((percent * count.double()).round().long(), count - 1)
    return _place(histogram, number.clamp(min=0))


def share_thresholds(
    histogram: Int64[Tensor, "k bins"], percent: float, cap: float
) -> Float[Tensor, " k"]:
    """About the value at ``bins_at``, at most ``cap``: the lower edge of its bin.

    It is ``cap`` for a class that is never predicted.
    """
    return EDGES[bins_at(histogram, percent).bin].clamp(max=cap)


def portion_thresholds(histogram: Int64[Tensor, "k bins"], portion: float) -> Float[Tensor, " k"]:
    """About the value number floor(portion * n) of n from the surest, from 1; 1 for number 0.

    The lower edge of its bin. CBST (Zou et al., ECCV 2018).
    """
    count = histogram.sum(dim=1)
    number = (portion * count.double()).floor().long()
    place = _place(histogram, (count - number).clamp(min=0))
    return EDGES[place.bin].where(number > 0, 1.0)


def values_in_bins(
    confidence: Float[Tensor, "*shape"], label: Integer[Tensor, "*shape"], place: Place, cap: float
) -> tuple[Float[Tensor, " n"], Int64[Tensor, " n"]]:
    """The confidences in their class's fine bin, and the classes; none of a bin from ``cap``.

    Above the cap only the cap counts, and there may be millions of equal values.
    """
    label = label.long()
    wanted = place.bin.where(place.bin < cap * FINE, -1)
    chosen = bin_of(confidence) == wanted.to(label.device)[label]
    return confidence[chosen], label[chosen]


def class_thresholds(
    parts: Iterable[tuple[Tensor, Tensor]], place: Place, cap: float
) -> Float64[Tensor, " k"]:
    """The order statistics, at most ``cap``, from ``values_in_bins`` of every image.

    A class that is never predicted has 0.
    """
    values, labels = (torch.cat(part) for part in zip(*parts, strict=True))
    thresholds = torch.full((len(place.bin),), cap, dtype=torch.float64)
    for k, count in enumerate(place.count.tolist()):
        own = values[labels == k]
        if count == 0:
            thresholds[k] = 0
        elif len(own):
            thresholds[k] = min(float(own.sort().values[place.rank[k]]), cap)
    return thresholds


def bin_of(confidence: Float[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    """The number of each confidence's even bin."""
    return (confidence * FINE).long().clamp(max=FINE - 1)


def _histogram(
    bin: Int64[Tensor, "*shape"], label: Integer[Tensor, "*shape"], num_classes: int, bins: int
) -> Int64[Tensor, "k bins"]:
    cell = label.long() * bins + bin
    return cell.flatten().bincount(minlength=num_classes * bins).view(num_classes, bins)


def _place(histogram: Int64[Tensor, "k bins"], number: Int64[Tensor, " k"]) -> Place:
    """Of the value with this number from below, from 0."""
    below = histogram.cumsum(dim=1)
    last = histogram.shape[1] - 1
    bin = torch.searchsorted(below, number[:, None], right=True)[:, 0].clamp(max=last)
    before = (below - histogram).gather(1, bin[:, None])[:, 0]
    return Place(below[:, -1], bin, number - before)
