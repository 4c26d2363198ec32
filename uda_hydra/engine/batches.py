"""Batches on their way to a step: normalised on the device, and split into parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from jaxtyping import Float, Real
from torch import Tensor

from uda_hydra.types import Normalization, Source, Target

Batch = tuple[Source, Target]


class DeviceBatches:
    """Brings batches to ``device``: images of 0 to 255 normalised, labels as int64."""

    def __init__(
        self, normalization: Normalization, device: torch.device, layout: torch.memory_format
    ) -> None:
        self.normalization = normalization
        self.device = device
        self.layout = layout

    def __call__(self, source: Source, target: Target) -> Batch:
        """The batch as a method gets it; every other field as it is."""
        source = source._replace(
            image=self.images(source.image),
            label=source.label.to(self.device, non_blocking=True).long(),
            key=tuple(source.key),
        )
        return source, self._target(target)

    def _target(self, target: Target) -> Target:
        return target._replace(
            image=self.images(target.image),
            key=tuple(target.key),
            strong=None if target.strong is None else self.images(target.strong),
            whole=None if target.whole is None else self.images(target.whole),
            stored={
                name: value.to(self.device, non_blocking=True)
                for name, value in target.stored.items()
            },
            plain=None if target.plain is None else self._target(target.plain),
        )

    def images(self, images: Real[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """The network's input."""
        images = self.normalization(images.to(self.device, non_blocking=True))
        return images.contiguous(memory_format=self.layout)


def one_ahead(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The same batches, each asked for before the one before it is used."""
    ahead = None
    for batch in batches:
        if ahead is not None:
            yield ahead
        ahead = batch
    if ahead is not None:
        yield ahead


def split(source: Source, target: Target, parts: int) -> Iterator[Batch]:
    """The samples of a batch in ``parts`` batches of equal size, in order."""
    size = len(source.image) // parts
    for start in range(0, size * parts, size):
        part = slice(start, start + size)
        yield Source(*_sliced(source, part)), Target(*_sliced(target, part))


def _sliced(batch: Source | Target, part: slice) -> Iterator[object]:
    """Each field of the batch for some of its samples; what a batch lacks stays None."""
    for field in batch:
        if isinstance(field, Target):
            yield Target(*_sliced(field, part))
        elif isinstance(field, Mapping):
            yield {name: value[part] for name, value in field.items()}
        else:
            yield None if field is None else field[part]
