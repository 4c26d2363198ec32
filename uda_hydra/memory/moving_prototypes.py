"""Prototypes: one feature per class, made of the class means of images."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor, nn

from uda_hydra.memory.class_sums import image_sums


class ClassMeans(NamedTuple):
    """Mean feature of each class in each image, and whether the image shows enough of the class."""

    vectors: Float[Tensor, "b k d"]
    shown: Bool[Tensor, "b k"]


def class_means(
    feature: Float[Tensor, "b d h w"],
    label: Integer[Tensor, "b h w"],
    *,
    num_classes: int,
    min_pixels: int,
) -> ClassMeans:
    """Without gradient and in float32 at least; labels that are no class count nowhere.

    A class is shown by ``min_pixels`` or more. As in ProDA's release a mean whose components sum to
    exactly 0 is not one.
    """
    total, count = image_sums(feature, label, num_classes)
    vectors = total / count.clamp(min=1)[..., None].to(total.dtype)
    return ClassMeans(vectors, (count >= min_pixels) & (vectors.sum(dim=2) != 0))


def running_mean(
    images: Iterable[tuple[Float[Tensor, "k d"], Bool[Tensor, " k"]]],
    vectors: Float[Tensor, "k d"],
    count: Float[Tensor, " k"],
    *,
    cap: int,
) -> tuple[Float[Tensor, "k d"], Float[Tensor, " k"]]:
    """Prototypes and counts after each image's class means have joined the mean of those before.

    Images count alike, however many pixels they show. From ``cap`` images on the mean moves with
    the latest: its weight stays 1 / (cap + 1).
    """
    for vector, shown in images:
        mean = (count[:, None] * vectors + vector) / (count[:, None] + 1)
        vectors = mean.where(shown[:, None], vectors)
        count = (count + 1).clamp(max=cap).where(shown, count)
    return vectors, count


class MovingPrototypes(nn.Module):
    """One vector per class that follows the class means of images slowly.

    ProDA (Zhang et al., CVPR 2021).

    Its size is that of the first vectors it is given.
    """

    vectors: Float[Tensor, "k d"]
    first: Float[Tensor, "k d"]

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(num_classes, 0))
        # Follows from the passes before the training, so no checkpoint has to bring it back.
        self.register_buffer("first", torch.zeros(num_classes, 0), persistent=False)

    def begin(self, vectors: Float[Tensor, "k d"]) -> None:
        """Start from these."""
        if vectors.shape[0] != len(self.vectors):
            raise ValueError(
                f"there are prototypes of {len(vectors)} classes for {len(self.vectors)} classes"
            )
        self.vectors, self.first = (vectors.to(self.vectors, copy=True) for _ in range(2))

    @torch.no_grad()
    def move(self, means: ClassMeans, *, momentum: float) -> None:
        """Towards each image's means, one image after the other; ``momentum`` is their weight."""
        for vectors, shown in zip(means.vectors, means.shown, strict=True):
            moved = (1 - momentum) * self.vectors + momentum * vectors
            self.vectors.copy_(moved.where(shown[:, None], self.vectors))

    @property
    def drift(self) -> Float[Tensor, ""]:
        """Mean distance of the prototypes from where they started."""
        return (self.vectors - self.first).norm(dim=1).mean()
