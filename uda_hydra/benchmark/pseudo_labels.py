"""ProDA's soft labels of crops, distances and class means against their literal formulation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

import uda_hydra.losses as L
from uda_hydra.augment.warp import warp
from uda_hydra.benchmark.timing import Measurement, Setting, agree, side_by_side, speedup
from uda_hydra.memory import MovingPrototypes, class_means
from uda_hydra.types import Crop, Mirror, Resize, View, upsample

CLASSES = 19
STRIDE = 4
MIN_PIXELS = 10
MOMENTUM = 0.5
"""Not the paper's 1e-4, with which a wrong mean would go unnoticed."""


@dataclass(frozen=True)
class Sizes:
    """(width, height) of an image, of its random size and of the crop; the paper's by default."""

    image: tuple[int, int] = (2048, 1024)
    resized: tuple[int, int] = (2354, 1177)
    crop: tuple[int, int] = (896, 512)
    channels: int = 256
    images: int = 1

    @property
    def stored(self) -> tuple[int, int]:
        """Height and width of a stored soft label, at the network's stride 8."""
        width, height = self.image
        return height // 8 + 1, width // 8 + 1


SMALL = Sizes((64, 32), (70, 35), (48, 24), channels=8, images=2)


class Problem:
    """The same maps for both ways."""

    def __init__(self, sizes: Sizes, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(0)

        def drawn(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator).to(device)

        self.sizes = sizes
        width, height = sizes.image
        self.soft = drawn(CLASSES, *sizes.stored).softmax(dim=0)
        inside = (big - small for big, small in zip(sizes.resized, sizes.crop, strict=True))
        self.crop = Crop(*(room // 3 for room in inside), *sizes.crop)
        self.view = View(sizes.image, (Resize(*sizes.resized), self.crop, Mirror()))
        quarter = height // STRIDE, width // STRIDE
        self.feature = drawn(sizes.images, sizes.channels, *quarter)
        # Regions, as a network sees them, and not noise.
        coarse = drawn(sizes.images, CLASSES, *(max(side // 32, 1) for side in quarter))
        self.label = upsample(coarse, quarter).argmax(dim=1)
        self.weak = drawn(1, sizes.channels, *(side // STRIDE for side in reversed(sizes.crop)))
        self.start = drawn(CLASSES, sizes.channels)
        self.prototypes = MovingPrototypes(CLASSES).to(device)
        self.prototypes.begin(self.start)

    def soft_label(self) -> Tensor:
        """Of a crop, by two products."""
        return warp(self.soft, self.view, kind="soft", stride=STRIDE)

    def literal_soft_label(self) -> Tensor:
        """By resizing to the image, to its random size, and the crop to a quarter."""
        x, y, width, height = self.crop
        whole = upsample(self.soft[None], self.sizes.image[::-1])
        resized = upsample(whole, self.sizes.resized[::-1])
        seen = resized[:, :, y : y + height, x : x + width].flip(3)
        return upsample(seen, (height // STRIDE, width // STRIDE))[0]

    def distance(self) -> Tensor:
        """Of a crop's features to all prototypes, by one product."""
        return L.prototype_distance(self.weak, self.start)

    def literal_distance(self) -> Tensor:
        """By one pass over the features for each class."""
        passes = [(self.weak - p[:, None, None]).norm(dim=1) for p in self.start]
        return torch.stack(passes, dim=1)

    def move(self) -> Tensor:
        """Class means of whole images move the prototypes."""
        self.prototypes.begin(self.start)
        means = class_means(self.feature, self.label, num_classes=CLASSES, min_pixels=MIN_PIXELS)
        self.prototypes.move(means, momentum=MOMENTUM)
        return self.prototypes.vectors

    def literal_move(self) -> Tensor:
        """By a mask over all channels for each image and class, as in the release."""
        vectors = self.start.clone()
        for feature, label in zip(self.feature, self.label, strict=True):
            for k in range(CLASSES):
                mask = (label == k).float()
                if mask.sum() < MIN_PIXELS:
                    continue
                mean = (feature * mask).mean(dim=(1, 2)) / mask.mean()
                vectors[k] = vectors[k] * (1 - MOMENTUM) + MOMENTUM * mean
        return vectors


def compare(setting: Setting) -> list[Measurement]:
    """Soft labels, distances, and class means with the prototypes' move."""
    sizes = SMALL if setting.quick else Sizes(images=4 if setting.device.type == "cuda" else 1)
    problem = Problem(sizes, setting.device)
    ways = {
        "soft label of a crop": (problem.soft_label, problem.literal_soft_label, 5),
        "distances to prototypes": (problem.distance, problem.literal_distance, 0),
        "class means and prototypes": (problem.move, problem.literal_move, 20),
    }
    rows = []
    for name, (ours, plain, least) in ways.items():
        agree(name, ours(), plain(), tolerance=1e-4)
        times = side_by_side(ours, plain, repetitions=setting.repetitions(9), device=setting.device)
        note = f"{sizes.images} of {sizes.image}, crop {sizes.crop}, {sizes.channels} channels"
        rows.append(speedup(name, times, f"at least {least}" if least else "", note))
    return rows
