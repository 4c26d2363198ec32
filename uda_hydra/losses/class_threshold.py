"""Confidence thresholds by class from counts, so that no image's probabilities are kept.

A first pass counts the confidences in bins, which say in which one the wanted order statistic
lies; a second one collects the values of those bins alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int64, Integer
from torch import Tensor

BINS = 2**16
"""A power of two: which bin a float32 is in suffers no rounding."""


class Place(NamedTuple):
    """Where each class's order statistic is: in the bin number ``bin``, at ``rank`` from below."""

    count: Int64[Tensor, " k"]
    """Pixels predicted as the class."""
    bin: Int64[Tensor, " k"]
    rank: Int64[Tensor, " k"]


def confidence_histogram(
    confidence: Float[Tensor, "*shape"], label: Integer[Tensor, "*shape"], num_classes: int
) -> Int64[Tensor, "k bins"]:
    """How many pixels of each class have a confidence in [0, 1] in each of ``BINS`` even bins."""
    cell = label.long() * BINS + bin_of(confidence)
    return cell.flatten().bincount(minlength=num_classes * BINS).view(num_classes, BINS)


def bins_at(histogram: Int64[Tensor, "k bins"], percent: float) -> Place:
    """The place of the value number round(percent * n) of n, from 0, half to even, at most n - 1.

    ProCA (Jiang et al., ECCV 2022); the release's number may lie behind the last.
    """
    below = histogram.cumsum(dim=1)
    count = below[:, -1]
    number = torch.minimum((percent * count.double()).round().long(), count - 1).clamp(min=0)
    bin = torch.searchsorted(below, number[:, None], right=True)[:, 0].clamp(max=BINS - 1)
    before = (below - histogram).gather(1, bin[:, None])[:, 0]
    return Place(count, bin, number - before)


def values_in_bins(
    confidence: Float[Tensor, "*shape"], label: Integer[Tensor, "*shape"], place: Place, cap: float
) -> tuple[Float[Tensor, " n"], Int64[Tensor, " n"]]:
    """The confidences that lie in their class's bin, and the classes; none of a bin from ``cap``.

    Above the cap only the cap counts, and there may be millions of equal values.
    """
    label = label.long()
    wanted = place.bin.where(place.bin < cap * BINS, -1)
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
    """The number of each confidence's bin."""
    return (confidence * BINS).long().clamp(max=BINS - 1)
