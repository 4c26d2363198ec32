"""Confidence thresholds by class from counts, so that no image's probabilities are kept.

A pass counts the confidences in bins, which say in which one the wanted order statistic lies. Its
lower edge is near enough where counts are kept for each image; the exact value is found by a second
pass that collects the values of those bins alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int, Int64, Integer
from torch import Tensor

FINE, COARSE = 12, 7
"""Leading bits of 1 - confidence that share a bin: 98 305 bins, or 3073 where images are kept."""
OCTAVES = 24
"""Below 2^-24, the spacing of float32 under 1, all is one bin."""
BIAS, MANTISSA = 1023, 52
"""Of a float64: the exponent of 1, and the bits after it."""


class Place(NamedTuple):
    """Where each class's order statistic is: in the bin number ``bin``, at ``rank`` from below."""

    count: Int64[Tensor, " k"]
    """Pixels predicted as the class."""
    bin: Int64[Tensor, " k"]
    rank: Int64[Tensor, " k"]


def confidence_histogram(
    confidence: Float[Tensor, "*shape"],
    label: Integer[Tensor, "*shape"],
    num_classes: int,
    *,
    bits: int = FINE,
) -> Int64[Tensor, "k bins"]:
    """How many pixels of each class have a confidence in [0, 1] in each bin, from below."""
    bins = (OCTAVES << bits) + 1
    cell = label.long() * bins + bin_of(confidence, bits)
    return cell.flatten().bincount(minlength=num_classes * bins).view(num_classes, bins)


def image_histograms(probability: Float[Tensor, "b k h w"]) -> Int[Tensor, "b k bins"]:
    """``confidence_histogram`` of the most probable class in each image, in few bins."""
    images = zip(*probability.max(dim=1), strict=True)
    classes = probability.shape[1]
    return torch.stack([confidence_histogram(p, k, classes, bits=COARSE).int() for p, k in images])


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
    """About the value at ``bins_at``, at most ``cap``: the lower edge of its bin."""
    return _lower_edge(bins_at(histogram, percent).bin, histogram).clamp(max=cap)


def portion_thresholds(histogram: Int64[Tensor, "k bins"], portion: float) -> Float[Tensor, " k"]:
    """About the value number floor(portion * n) of n from the surest, from 1; 1 for number 0.

    The lower edge of its bin. CBST (Zou et al., ECCV 2018).
    """
    count = histogram.sum(dim=1)
    number = (portion * count.double()).floor().long()
    place = _place(histogram, (count - number).clamp(min=0))
    return _lower_edge(place.bin, histogram).where(number > 0, 1.0)


def values_in_bins(
    confidence: Float[Tensor, "*shape"], label: Integer[Tensor, "*shape"], place: Place, cap: float
) -> tuple[Float[Tensor, " n"], Int64[Tensor, " n"]]:
    """The confidences that lie in their class's fine bin, and the classes; none above ``cap``'s.

    Above the cap only the cap counts, and there may be millions of equal values.
    """
    label = label.long()
    wanted = place.bin.where(place.bin <= bin_of(torch.tensor(cap), FINE), -1)
    chosen = bin_of(confidence, FINE) == wanted.to(label.device)[label]
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


def bin_of(confidence: Float[Tensor, "*shape"], bits: int) -> Int64[Tensor, "*shape"]:
    """The number of each confidence's bin: the first ``bits`` of 1 - confidence as float64.

    So the bins are narrow where networks are sure.
    """
    doubt = (1 - confidence.double()).clamp(2.0**-OCTAVES, 1)
    # Exponent and leading bits, which grow with the number.
    return (BIAS << bits) - (doubt.view(torch.int64) >> (MANTISSA - bits))


def _place(histogram: Int64[Tensor, "k bins"], number: Int64[Tensor, " k"]) -> Place:
    """Of the value with this number from below, from 0."""
    below = histogram.cumsum(dim=1)
    last = histogram.shape[1] - 1
    bin = torch.searchsorted(below, number[:, None], right=True)[:, 0].clamp(max=last)
    before = (below - histogram).gather(1, bin[:, None])[:, 0]
    return Place(below[:, -1], bin, number - before)


def _lower_edge(
    bin: Int64[Tensor, " k"], histogram: Int64[Tensor, "k bins"]
) -> Float[Tensor, " k"]:
    """The smallest confidence of a bin of the histogram."""
    bits = (histogram.shape[1] // OCTAVES).bit_length() - 1
    largest = (((BIAS << bits) - bin + 1) << (MANTISSA - bits)) - 1
    return (1 - largest.view(torch.float64)).clamp(min=0).float()
