"""One centre per class: of a batch, of a data set, and remembered over steps."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor, nn

from uda_hydra.memory.class_sums import image_sums

SMALLEST_SHARE = 1e-6
"""Added to the share of an image's pixels by which a sum is divided (CFContra's release)."""


class ClassMemory(nn.Module):
    """A unit vector per class that follows the centres of batches; a row of zeros is unknown."""

    centres: Float[Tensor, "c d"]

    def __init__(self, num_classes: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("centres", torch.zeros(num_classes, dim))

    @torch.no_grad()
    def update(self, centres: Float[Tensor, "c d"], momentum: float) -> None:
        """momentum * own + (1 - momentum) * new, of unit length; where new is zero, as before."""
        self.centres.copy_(self.updated(centres, momentum))

    @torch.no_grad()
    def updated(self, centres: Float[Tensor, "c d"], momentum: float) -> Float[Tensor, "c d"]:
        """What ``update`` would make of the memory, which stays as it is."""
        present = centres.any(dim=1, keepdim=True)
        moved = torch.lerp(centres.to(self.centres.dtype), self.centres, momentum)
        return F.normalize(moved, dim=1).where(present, self.centres)


def image_means(
    features: Float[Tensor, "b d h w"], label: Integer[Tensor, "b h w"], num_classes: int
) -> Float[Tensor, "b c d"]:
    """Mean features of every class in every image, 0 where it is absent.

    A sum is divided by the class's share of the pixels plus 1e-6. CFContra (arXiv 2103.12371).
    """
    total, count = image_sums(features, label, num_classes)
    count += SMALLEST_SHARE * label[0].numel()
    return total / count[..., None].to(total.dtype)


def class_centres(
    features: Float[Tensor, "b d h w"], label: Integer[Tensor, "b h w"], num_classes: int
) -> Float[Tensor, "c d"]:
    """Unit centre of each class over a batch, in which images count equally; 0 if it is absent."""
    return F.normalize(image_means(features, label, num_classes).mean(dim=0), dim=1)


def whole_centres(means: Iterator[Float[Tensor, "c d"]]) -> Float[Tensor, "c d"]:
    """Unit centre of each class over a data set, from the ``image_means`` of each image.

    Images that show a class count equally; a class that none of them shows has a row of zeros.
    """
    # Of unit length in the end, so the number of images is of no account.
    total = sum(mean.double() for mean in means)
    return F.normalize(total, dim=1).float()


def fill_missing(
    centres: Float[Tensor, "c d"], others: Float[Tensor, "c d"]
) -> Float[Tensor, "c d"]:
    """The centres, those of ``others`` for classes without one."""
    return centres.where(centres.any(dim=1, keepdim=True), others)
