"""Training batches as a function of (seed, step): the same with any number of workers."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from random import Random
from typing import Any, NamedTuple, Protocol, runtime_checkable

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from uda_hydra.augment.guided import Guided
from uda_hydra.augment.style import Restyling
from uda_hydra.augment.training import AS_THEY_ARE, Augmentation, SourceView, TargetView
from uda_hydra.augment.view import first_accepted
from uda_hydra.augment.warp import warp
from uda_hydra.types import Source, Target, View

# Views in which a wanted class is too small are drawn again so often; DAFormer's number.
_VIEW_REDRAWS = 10


@runtime_checkable
class Samples(Protocol):
    """Images at one fixed size; labels only where the set has them."""

    keys: tuple[str, ...]

    def image(self, index: int) -> Tensor:
        """RGB uint8 (3, h, w)."""

    def label(self, index: int) -> Tensor:
        """Train ids uint8 (h, w), 255 ignored."""


def seed_of(*parts: int | str) -> int:
    """A 63-bit seed that depends on every part and on their order."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@lru_cache(maxsize=4)
def permutation(seed: int, size: int) -> np.ndarray:
    """The numbers below ``size`` in random order; kept for the next call."""
    return np.random.default_rng(seed).permutation(size)


def order(*, seed: int, domain: str, size: int, position: int) -> int:
    """Index of the sample at ``position`` of an endless stream that reshuffles every pass."""
    epoch, offset = divmod(position, size)
    return int(permutation(seed_of(seed, domain, epoch), size)[offset])


class Draw(NamedTuple):
    """The sample to show; ``category`` covers more than ``share`` of its view, if possible."""

    index: int
    category: int | None = None
    share: float = 0.0


@runtime_checkable
class Order(Protocol):
    """Which source sample is shown when."""

    def draw(self, seed: int, position: int) -> Draw:
        """The sample at ``position`` of an endless stream, a function of both arguments alone."""


@runtime_checkable
class StoredMaps(Protocol):
    """What a pass has kept of every target image, to be seen as the image is."""

    kind: str
    """label or soft: see ``augment.warp``."""
    stride: int
    """At 1/stride of the image's resolution it is wanted."""

    def read(self, key: str) -> Tensor:
        """What is kept of the image with this key."""


class TrainingSet(NamedTuple):
    """Samples, and the size (width, height) that they are trained at."""

    samples: Samples
    size: tuple[int, int]


class Steps(Dataset):
    """Item ``step`` is that step's whole batch of both domains, as uint8 (restyled: float32).

    A view is a function of (seed, domain, step, place in the batch) alone.
    """

    def __init__(
        self,
        source: TrainingSet,
        target: TrainingSet,
        *,
        seed: int,
        batch_size: int,
        augmentation: Augmentation,
        source_order: Order,
        stored: Mapping[str, StoredMaps] = {},
    ) -> None:
        self.source = source
        self.target = target
        self.seed = seed
        self.batch_size = batch_size
        self.augmentation = augmentation
        self.source_order = source_order
        self.stored = stored

    def __getitem__(self, step: int) -> tuple[Source, Target]:
        source, target = self._source_batch(step), self._target_batch(step)
        if isinstance(self.augmentation, Restyling):
            source = source._replace(image=self._restyled(source.image, target.image, step))
        return source, target

    def _restyled(self, images: Tensor, styles: Tensor, step: int) -> Tensor:
        """Each source image in the style of the target image at its place, as float32."""
        pairs = zip(images, styles, strict=True)
        return torch.stack(
            [
                self.augmentation.restyle(
                    image, [style], self._random("style", step, place)
                ).float()
                for place, (image, style) in enumerate(pairs)
            ]
        )

    def _source_batch(self, step: int) -> Source:
        samples, size = self.source
        draws = [self.source_order.draw(self.seed, place) for place in self._places(step)]
        seen = [
            self._source_view(samples, draw, size, self._random("source", step, place))
            for place, draw in enumerate(draws)
        ]
        return Source(
            image=torch.stack([one.image() for one in seen]),
            label=torch.stack([one.label for one in seen]),
            key=tuple(samples.keys[draw.index] for draw in draws),
            view=tuple(one.view for one in seen),
        )

    def _source_view(
        self, samples: Samples, draw: Draw, size: tuple[int, int], random: Random
    ) -> SourceView:
        image, label = samples.image(draw.index), samples.label(draw.index)
        if draw.category is None or self.augmentation == AS_THEY_ARE:
            return self.augmentation.source(image, label, size, random)
        tries = (
            self.augmentation.source(image, label, size, random) for _ in range(1 + _VIEW_REDRAWS)
        )
        return first_accepted(
            tries,
            lambda seen: int((seen.label == draw.category).sum()) > draw.share * seen.label.numel(),
        )

    def _target_batch(self, step: int) -> Target:
        samples, size = self.target
        chosen = self._indices("target", samples, step)
        seen = [
            self._target_view(samples, index, size, self._random("target", step, place))
            for place, index in enumerate(chosen)
        ]
        return self._joined(tuple(samples.keys[index] for index in chosen), seen)

    def _target_view(
        self, samples: Samples, index: int, size: tuple[int, int], random: Random
    ) -> TargetView:
        image, vary = samples.image(index), self.augmentation
        if not isinstance(vary, Guided) or vary.guide not in self.stored:
            return vary.target(image, size, random)
        guide = self.stored[vary.guide].read(samples.keys[index])
        return vary.guided(image, guide, size, random)

    def _joined(self, keys: tuple[str, ...], seen: list[TargetView]) -> Target:
        views = tuple(one.view for one in seen)
        plain = [one.plain for one in seen if one.plain is not None]
        return Target(
            image=torch.stack([one.image for one in seen]),
            key=keys,
            view=views,
            strong=_stacked([one.strong for one in seen]),
            strong_view=tuple(one.strong_view for one in seen if one.strong_view is not None),
            whole=_stacked([one.whole for one in seen]),
            stored={name: _read(store, keys, views) for name, store in self.stored.items()},
            plain=self._joined(keys, plain) if plain else None,
        )

    def _random(self, domain: str, step: int, place: int) -> Random:
        return Random(seed_of(self.seed, "view", domain, step, place))

    def _places(self, step: int) -> range:
        return range(step * self.batch_size, (step + 1) * self.batch_size)

    def _indices(self, domain: str, samples: Samples, step: int) -> list[int]:
        size = len(samples.keys)
        return [
            order(seed=self.seed, domain=domain, size=size, position=position)
            for position in self._places(step)
        ]


def _stacked(images: list[Tensor | None]) -> Tensor | None:
    """One batch, if the augmentation makes such images."""
    given = [image for image in images if image is not None]
    return torch.stack(given) if given else None


def _read(store: StoredMaps, keys: tuple[str, ...], views: tuple[View, ...]) -> Tensor:
    pairs = zip(keys, views, strict=True)
    return torch.stack(
        [warp(store.read(key), view, kind=store.kind, stride=store.stride) for key, view in pairs]
    )


def load(
    dataset: Dataset | list[Any], indices: Sequence[int], *, workers: int, pin: bool = False
) -> Iterator[Any]:
    """Items of ``dataset`` at ``indices``, in order, read ahead by ``workers`` processes."""
    loader = DataLoader(
        dataset,
        batch_size=None,
        sampler=indices,
        num_workers=workers,
        prefetch_factor=2 if workers else None,
        pin_memory=pin,
        collate_fn=_as_it_is,
        worker_init_fn=_quiet_worker,
    )
    return iter(loader)


def _as_it_is(item: Any) -> Any:
    # The default makes lists of all tuples in it.
    return item


def _quiet_worker(_: int) -> None:
    cv2.setNumThreads(0)
    # The main process decides when to stop; a Ctrl-C in the terminal reaches every process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
