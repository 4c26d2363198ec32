"""A domain pair: labelled source, unlabelled target, and the target's validation images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import Tensor
from torch.utils.data import Dataset

from uda_hydra.data.augmentation import AugmentedSteps
from uda_hydra.data.cache import CachedImages, fill
from uda_hydra.data.label_space import LabelSpace
from uda_hydra.data.readers import ImageSet
from uda_hydra.data.samples import ResizedImages
from uda_hydra.data.store import Store
from uda_hydra.data.streams import Steps, load
from uda_hydra.settings import AugmentationSettings
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
        self, sizes: Sequence[tuple[int, int]], *, filter: str, shrink_labels: bool
    ) -> Validation:
        """The same images at ``sizes``, (width, height) each; labels at their own or the first."""
        images, *others = [self.images.at(size, filter=filter) for size in sizes]
        return Validation(images, self.labels.at(sizes[0] if shrink_labels else None), others)

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
    source_classes: tuple[int, ...]
    """Classes that the source's labels can hold."""
    oracle: bool = False
    """Whether the source is in truth the labelled target: an upper bound, not an adaptation."""
    augmentation: AugmentationSettings | None = None
    """How the training images are varied; None shows them as they are."""
    source_validation: Validation | None = None
    """Labelled source images that are never trained on, at the source's training size."""

    def augmented(self, settings: AugmentationSettings) -> Pair:
        """The same pair with its training images in random views; validation sees no change."""
        return replace(self, augmentation=settings if settings.active else None)

    def seen_at(
        self, sizes: Sequence[tuple[int, int]], *, filter: str, shrink_labels: bool
    ) -> Pair:
        """The same pair with its validation images at other sizes; training sees no change."""
        seen = self.validation.seen_at(sizes, filter=filter, shrink_labels=shrink_labels)
        return replace(self, validation=seen)

    def prepare(self) -> None:
        """Decode what the cache lacks: first, where waiting for it and stopping it are easy."""
        varied = self.augmentation
        # Random sizes are taken from the files themselves.
        kept = [] if varied and varied.scale_range else [*self.source.stores, *self.target.stores]
        if self.source_validation is not None:
            kept += self.source_validation.stores
        fill([*kept, *self.validation.stores])

    def streams(
        self, *, seed: int, steps: range, batch_size: int, workers: int, pin: bool
    ) -> Iterator[tuple[Source, Target]]:
        """The uint8 batches of ``steps``, a function of (seed, step) alone."""
        self.prepare()
        batches = Steps(self.source, self.target, seed=seed, batch_size=batch_size)
        if self.augmentation is not None:
            batches = AugmentedSteps(batches, self.source, self.target, self.augmentation)
        return load(batches, steps, workers=workers, pin=pin)

    def validate(self, *, workers: int) -> Iterator[ValidationSample]:
        """Every validation image of the target once, in order."""
        return self.validation.stream(workers=workers)

    def fingerprint(self, *, content: bool = False) -> dict[str, str]:
        """Of the images of each part: changes when a file of it is added, removed or edited.

        See ``ImageSet.fingerprint``, also for ``content``.
        """
        parts = {
            "source": self.source.images,
            "target": self.target.images,
            "validation": self.validation.truth,
        }
        if self.source_validation is not None:
            parts["source_validation"] = self.source_validation.truth
        return {name: images.fingerprint(content=content) for name, images in parts.items()}
