"""Training batches as a function of (seed, step): the same with any number of workers."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from uda_hydra.types import Source, Target


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
def _permutation(seed: int, size: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(size)


def order(*, seed: int, domain: str, size: int, position: int) -> int:
    """Index of the sample at ``position`` of an endless stream that reshuffles every pass."""
    epoch, offset = divmod(position, size)
    return int(_permutation(seed_of(seed, domain, epoch), size)[offset])


class Steps(Dataset):
    """Item ``step`` is that step's whole batch of both domains, as uint8."""

    def __init__(self, source: Samples, target: Samples, *, seed: int, batch_size: int) -> None:
        self.source = source
        self.target = target
        self.seed = seed
        self.batch_size = batch_size

    def __getitem__(self, step: int) -> tuple[Source, Target]:
        chosen = self.indices("source", len(self.source.keys), step)
        source = Source(
            image=torch.stack([self.source.image(i) for i in chosen]),
            label=torch.stack([self.source.label(i) for i in chosen]),
            key=tuple(self.source.keys[i] for i in chosen),
        )
        chosen = self.indices("target", len(self.target.keys), step)
        target = Target(
            image=torch.stack([self.target.image(i) for i in chosen]),
            key=tuple(self.target.keys[i] for i in chosen),
        )
        return source, target

    def indices(self, domain: str, size: int, step: int) -> list[int]:
        """Which of its ``size`` samples a domain shows at ``step``."""
        first = step * self.batch_size
        return [
            order(seed=self.seed, domain=domain, size=size, position=first + i)
            for i in range(self.batch_size)
        ]


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
        worker_init_fn=_quiet_worker,
    )
    return iter(loader)


def _quiet_worker(_: int) -> None:
    cv2.setNumThreads(0)
    # The main process decides when to stop; a Ctrl-C in the terminal reaches every process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
