"""A domain pair: labelled source, unlabelled target, and the target's validation images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from torch import Tensor
from torch.utils.data import Dataset

from uda_hydra.augment.training import AS_THEY_ARE, Augmentation
from uda_hydra.data.cache import CachedImages, fill
from uda_hydra.data.label_space import LabelSpace
from uda_hydra.data.readers import ImageSet
from uda_hydra.data.samplers import UNIFORM, Sampler, scan_file
from uda_hydra.data.samples import ResizedImages
from uda_hydra.data.store import Store
from uda_hydra.data.streams import Steps, StoredMaps, TrainingSet, load
from uda_hydra.files import digest
from uda_hydra.types import Source, Target


class ValidationSample(NamedTuple):
    """One validation image: network input, the truth, and the image at further sizes."""

    key: str
    image: Tensor  # uint8 (3, h, w), RGB
    label: Tensor  # uint8 (H, W), class numbers
    others: Sequence[Tensor] = ()


class Validation(Dataset):
    """Validation images; their labels serve evaluation only."""

    def __init__(
        self,
        images: ResizedImages | CachedImages,
        labels: ResizedImages | CachedImages,
        others: Sequence[ResizedImages | CachedImages] = (),
    ) -> None:
        """``images`` are at the network's size, ``others`` the same at further ones."""
        self.images = images
        self.labels = labels
        self.others = others

    def seen_at(
        self, sizes: Sequence[tuple[int, int]], *, filter: str, labels: tuple[int, int] | None
    ) -> Validation:
        """The same images at ``sizes``, (width, height) each, their labels at ``labels``."""
        images, *others = [self.images.at(size, filter=filter) for size in sizes]
        return Validation(images, self.labels.at(labels), others)

    @property
    def truth(self) -> ImageSet:
        """The labelled files."""
        return self.labels.images

    @property
    def stores(self) -> list[Store]:
        """What is kept decoded."""
        parts = [self.images, self.labels, *self.others]
        return [store for part in parts for store in part.stores]

    def stream(self, *, workers: int) -> Iterator[ValidationSample]:
        """Every image once, in order."""
        fill(self.stores)
        return load(self, range(len(self)), workers=workers)

    def __len__(self) -> int:
        return len(self.images.keys)

    def __getitem__(self, index: int) -> ValidationSample:
        return ValidationSample(
            self.images.keys[index],
            self.images.image(index),
            self.labels.label(index),
            tuple(part.image(index) for part in self.others),
        )


@dataclass(frozen=True)
class Pair:
    """Everything a training reads. ``target`` has no labels and cannot get any."""

    name: str
    label_space: LabelSpace
    source: ResizedImages | CachedImages
    target: ResizedImages | CachedImages
    validation: Validation
    oracle: bool = False
    """Whether the source is in truth the labelled target: an upper bound, not an adaptation."""
    augmentation: Augmentation = AS_THEY_ARE
    """How the training images are varied."""
    sampler: Sampler = UNIFORM
    """Which source image is shown when."""
    source_validation: Validation | None = None
    """Labelled source images that are never trained on, at the source's training size."""

    def augmented(self, augmentation: Augmentation) -> Pair:
        """The same pair with its training images in random views; validation sees no change."""
        return replace(self, augmentation=augmentation)

    def sampled(self, sampler: Sampler) -> Pair:
        """The same pair with its source images in the order of ``sampler``."""
        return replace(self, sampler=sampler)

    def seen_at(
        self, sizes: Sequence[tuple[int, int]], *, filter: str, labels: tuple[int, int] | None
    ) -> Pair:
        """The same pair with its validation images at other sizes; training sees no change."""
        seen = self.validation.seen_at(sizes, filter=filter, labels=labels)
        return replace(self, validation=seen)

    def prepare(self) -> None:
        """Decode what the cache lacks: first, where waiting for it and stopping it are easy."""
        source, target = self._trained()
        kept = [*source.stores, *target.stores]
        if self.source_validation is not None:
            kept += self.source_validation.stores
        fill([*kept, *self.validation.stores])

    def _trained(self) -> list[ResizedImages | CachedImages]:
        """Source and target as the augmentation is given them."""
        files = self.augmentation.from_file
        return [
            part.decoded.at(None) if domain in files else part
            for domain, part in (("source", self.source), ("target", self.target))
        ]

    def streams(
        self,
        *,
        seed: int,
        steps: range,
        batch_size: int,
        workers: int,
        pin: bool,
        stored: Mapping[str, StoredMaps] = {},
    ) -> Iterator[tuple[Source, Target]]:
        """The uint8 batches of ``steps``, a function of (seed, step) alone.

        What is ``stored`` of the target images is joined to their batches, seen as they are.
        """
        self.prepare()
        source, target = self._trained()
        batches = Steps(
            TrainingSet(source, self.source.size),
            TrainingSet(target, self.target.size),
            seed=seed,
            batch_size=batch_size,
            augmentation=self.augmentation,
            source_order=self.sampler.order(self.source.images, scan=self.scan_file),
            stored=stored,
        )
        return load(batches, steps, workers=workers, pin=pin)

    @property
    def scan_file(self) -> Path:
        """Where ``task=scan`` keeps what it counts of this pair's source."""
        return scan_file(self.name, self.label_space.name)

    @property
    def scan(self) -> Path | None:
        """The file of ``task=scan`` that decides the order of the source; None if none does."""
        return self.sampler.scan(self.scan_file)

    def validate(self, *, workers: int) -> Iterator[ValidationSample]:
        """Every validation image of the target once, in order."""
        return self.validation.stream(workers=workers)

    def fingerprint(self, *, content: bool = False) -> dict[str, str]:
        """Number and digest of the images of each part, and of the scan where one is read.

        A digest changes when a file is added, removed or edited; see ``ImageSet.fingerprint``, also
        for ``content``.
        """
        parts = {
            "source": self.source.images,
            "target": self.target.images,
            "validation": self.validation.truth,
        }
        if self.source_validation is not None:
            parts["source_validation"] = self.source_validation.truth
        found = {
            name: f"{len(images)} images, {images.fingerprint(content=content)}"
            for name, images in parts.items()
        }
        if self.scan is not None and self.scan.is_file():
            found["scan"] = f"1 file, {digest(self.scan)[:16]}"
        return found
