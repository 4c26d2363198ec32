"""A domain pair: labelled source, unlabelled target, and the target's validation images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from uda_hydra.data.readers import ImageSet
from uda_hydra.data.resize import resize_image, resize_label
from uda_hydra.data.streams import Samples, Steps, load
from uda_hydra.types import Source, Target


class Resized:
    """The samples of an image set, decoded and resized whenever they are asked for."""

    def __init__(self, images: ImageSet, size: tuple[int, int]) -> None:
        """``size`` is (width, height)."""
        self.images = images
        self.size = size
        self.keys = tuple(sample.key for sample in images.samples)

    def image(self, index: int) -> Tensor:
        """RGB uint8 (3, h, w)."""
        image = resize_image(self.images.read_image(self.images.samples[index]), self.size)
        return torch.from_numpy(image).permute(2, 0, 1).contiguous()

    def label(self, index: int) -> Tensor:
        """Train ids uint8 (h, w)."""
        label = self.images.read_label(self.images.samples[index])
        return torch.from_numpy(resize_label(label, self.size))


class Scored(NamedTuple):
    """One validation image: network input, and the truth at its full size."""

    key: str
    image: Tensor  # uint8 (3, h, w), RGB
    label: Tensor  # uint8 (H, W), train ids


class Validation(Dataset):
    """The target's validation images; their labels serve evaluation only."""

    def __init__(self, images: Samples, truth: ImageSet) -> None:
        self.images = images
        self.truth = truth

    def __len__(self) -> int:
        return len(self.images.keys)

    def __getitem__(self, index: int) -> Scored:
        label = torch.from_numpy(self.truth.read_label(self.truth.samples[index]))
        return Scored(self.images.keys[index], self.images.image(index), label)


@dataclass(frozen=True)
class Pair:
    """Everything a training reads. ``target`` has no labels and cannot get any."""

    name: str
    classes: tuple[str, ...]
    source: Samples
    target: Samples
    validation: Validation
    source_classes: tuple[int, ...]
    """Classes that the source's labels can hold."""
    oracle: bool = False
    """Whether the source is in truth the labelled target: an upper bound, not an adaptation."""

    def streams(
        self, *, seed: int, steps: range, batch_size: int, workers: int, pin: bool
    ) -> Iterator[tuple[Source, Target]]:
        """The uint8 batches of ``steps``, a function of (seed, step) alone."""
        batches = Steps(self.source, self.target, seed=seed, batch_size=batch_size)
        return load(batches, steps, workers=workers, pin=pin)

    def validate(self, *, workers: int) -> Iterator[Scored]:
        """Every validation image once, in order."""
        return load(self.validation, range(len(self.validation)), workers=workers)

    def fingerprint(self) -> str:
        """Changes when a sample is added, removed or renamed in any of the three sets."""
        parts = (self.source.keys, self.target.keys, self.validation.images.keys)
        return hashlib.sha256(repr((self.name, parts)).encode()).hexdigest()[:12]
