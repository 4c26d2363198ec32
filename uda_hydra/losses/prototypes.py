"""What distances of features to prototypes say. ProDA (Zhang et al., CVPR 2021)."""

from __future__ import annotations

from jaxtyping import Bool, Float, Integer
from torch import Tensor

from uda_hydra.losses.precision import full_precision
from uda_hydra.types import IGNORE

CLOSE = 1e-12
"""Squared distances below this share of the squared lengths are rounding errors, and count as 0."""


def prototype_distance(
    feature: Float[Tensor, "b d h w"], prototypes: Float[Tensor, "k d"]
) -> Float[Tensor, "b k h w"]:
    """Euclidean distance of each feature to each prototype, by one matrix product.

    The gradient goes to the features, and is 0 at a distance of 0. In float64 throughout, because
    the lengths of near vectors cancel; a float32 result of float32 features.
    """
    flat, constant = feature.double().flatten(2), prototypes.detach().double()
    lengths = flat.square().sum(dim=1, keepdim=True) + constant.square().sum(dim=1)[:, None]
    square = lengths - 2 * (constant @ flat)
    at_prototype = square <= CLOSE * lengths
    distance = square.masked_fill(at_prototype, 1.0).sqrt().masked_fill(at_prototype, 0.0)
    return distance.unflatten(2, feature.shape[-2:]).to(full_precision(feature).dtype)


def log_assignment(
    distance: Float[Tensor, "b k h w"], *, temperature: float
) -> Float[Tensor, "b k h w"]:
    """Log-probability of each class: ln softmax(-temperature * distance).

    As in the release a higher temperature makes it sharper; in the paper it divides.
    """
    return (-temperature * distance).log_softmax(dim=1)


def rectified(
    soft_label: Float[Tensor, "b k h w"],
    distance: Float[Tensor, "b k h w"],
    *,
    temperature: float,
) -> Float[Tensor, "b k h w"]:
    """The soft label times the assignment to the prototypes, summing to 1.

    All zero in pixels where the product is 0 for every class, where the release has nan.
    """
    product = soft_label * (-temperature * distance).softmax(dim=1)
    total = product.sum(dim=1, keepdim=True)
    return product / total.where(total > 0, 1.0)


def rectified_label(
    probability: Float[Tensor, "b k h w"], *, min_confidence: float
) -> Integer[Tensor, "b h w"]:
    """The most probable class; ignored below ``min_confidence`` and where all classes have 0."""
    confidence, label = probability.max(dim=1)
    return label.where((confidence >= min_confidence) & (confidence > 0), IGNORE)


def structure(
    student_distance: Float[Tensor, "b k h w"],
    teacher_distance: Float[Tensor, "b k h w"],
    seen: Bool[Tensor, "b h w"],
    *,
    temperature: float,
) -> Float[Tensor, ""]:
    """KL of the teacher's assignment from the student's, divided by k; 0 or more.

    The mean of the pixels ``seen``, 0 without any; the teacher is constant. The release divides by
    the number of classes, the paper does not.
    """
    teacher = log_assignment(teacher_distance.detach(), temperature=temperature)
    student = log_assignment(student_distance, temperature=temperature)
    divergence = (teacher.exp() * (teacher - student)).sum(dim=1)
    return (divergence * seen).sum() / (seen.sum().clamp(min=1) * teacher.shape[1])
