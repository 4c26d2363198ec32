"""Crops of images at their own ratio: DAFormer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from random import Random

import torch
from jaxtyping import UInt8
from torch import Tensor

from uda_hydra.augment.checks import check, check_probabilities, check_sizes
from uda_hydra.augment.resize import resize_label_by_corners
from uda_hydra.augment.training import SourceView, TargetView, size_of
from uda_hydra.augment.view import (
    extend,
    first_accepted,
    fit_inside,
    is_varied,
    output_size,
    random_crop,
)
from uda_hydra.augment.warp import warp
from uda_hydra.types import Mirror, Resize, View

_REDRAWS = 10


@dataclass(frozen=True)
class RatioCrop:
    """A crop of the image at its own ratio: DAFormer (Hoyer et al., CVPR 2022).

    Images and labels are resized to fit inside the training size as OpenCV does it. A crop of the
    source is drawn again, at most ten times, while one class covers ``max_share`` of its labelled
    pixels.
    """

    crop: list[int]
    """Width and height, for both domains."""
    max_share: float
    mirror: float
    from_file = ("source", "target")

    def __post_init__(self) -> None:
        check_sizes(crop=self.crop)
        check("max_share", 0 <= self.max_share <= 1, "a share, 0 to 1", self.max_share)
        check_probabilities(mirror=self.mirror)

    def source(
        self,
        image: UInt8[Tensor, "3 h w"],
        label: UInt8[Tensor, "h w"],
        size: tuple[int, int],
        random: Random,
    ) -> SourceView:
        """A crop that shows more than one class, mirrored or not."""
        base = View(size_of(image), (Resize(*fit_inside(size_of(image), size)),))
        shown = output_size(base)
        small = torch.from_numpy(resize_label_by_corners(label.numpy(), shown))

        def tries() -> Iterator[View]:
            for _ in range(1 + _REDRAWS):
                yield random_crop(base, (self.crop[0], self.crop[1]), random)

        def crop(view: View) -> UInt8[Tensor, "h w"]:
            return warp(small, View(shown, view.operations[1:]), kind="label")

        def accept(view: View) -> bool:
            return is_varied(crop(view), self.max_share)

        view = self._turned(first_accepted(tries(), accept), random)
        seen = partial(warp, image, view, kind="image", filter="opencv")
        return SourceView(seen, crop(view), view)

    def target(
        self, image: UInt8[Tensor, "3 h w"], size: tuple[int, int], random: Random
    ) -> TargetView:
        """A free crop, mirrored or not."""
        base = View(size_of(image), (Resize(*fit_inside(size_of(image), size)),))
        view = self._turned(random_crop(base, (self.crop[0], self.crop[1]), random), random)
        return TargetView(warp(image, view, kind="image", filter="opencv"), view)

    def uncropped(self, domain: str, size: tuple[int, int]) -> tuple[int, int]:
        """The training size, in which the whole image fits."""
        return size

    def _turned(self, view: View, random: Random) -> View:
        return extend(view, Mirror()) if random.random() < self.mirror else view
