"""The samples of an image set at one size, decoded whenever they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import UInt8
from torch import Tensor

from uda_hydra.augment.resize import resize_image, resize_label
from uda_hydra.data.readers import ImageSet


class ResizedImages:
    """Images and labels as training and evaluation see them."""

    stores = ()
    """Nothing is kept decoded."""

    def __init__(
        self, images: ImageSet, size: tuple[int, int] | None, *, filter: str = "bicubic"
    ) -> None:
        """``size`` is (width, height); None leaves each file at its own."""
        self.images = images
        self.size = size
        self.filter = filter
        self.keys = tuple(sample.key for sample in images.samples)

    def image(self, index: int) -> UInt8[Tensor, "3 h w"]:
        """RGB."""
        image = self.images.read_image(self.images.samples[index])
        if self.size is not None:
            image = resize_image(image, self.size, filter=self.filter)
        return torch.from_numpy(image).permute(2, 0, 1).contiguous()

    def label(self, index: int) -> UInt8[Tensor, "h w"]:
        """Class numbers, 255 ignored."""
        label = self.images.read_label(self.images.samples[index])
        if self.size is not None:
            label = resize_label(label, self.size)
        return torch.from_numpy(label)

    @property
    def decoded(self) -> ResizedImages:
        """The same, read from the files."""
        return self

    def at(self, size: tuple[int, int] | None, *, filter: str = "bicubic") -> ResizedImages:
        """The same samples at another size."""
        return ResizedImages(self.images, size, filter=filter)

    def part(self, indices: Sequence[int]) -> ResizedImages:
        """Some of the samples: what a worker process needs to know of a large set."""
        chosen = [self.images.samples[index] for index in indices]
        return ResizedImages(replace(self.images, samples=chosen), self.size, filter=self.filter)
