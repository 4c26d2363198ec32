"""Which source image a training sees when: all or some, class-balanced or rare classes first.

An order is a function of (seed, position) alone, so any number of workers and any start give the
same images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float64

from uda_hydra.data.class_balanced import BLOCK, class_balanced_draws, rare_class_probability
from uda_hydra.data.readers import ImageSet
from uda_hydra.data.scan import Statistics
from uda_hydra.data.streams import Draw, Order, order, permutation, seed_of
from uda_hydra.errors import UserError

SCANS = Path("outputs/scan")
"""Where ``task=scan`` writes."""


@runtime_checkable
class Sampler(Protocol):
    """What ``sampler`` may name."""

    def scan(self, default: Path) -> Path | None:
        """The file of ``task=scan`` that decides the order; None if none does."""

    def order(self, images: ImageSet, *, scan: Path) -> Order:
        """The order of ``images``; ``scan`` is the file that counts their classes, by default."""


@dataclass(frozen=True)
class Uniform:
    """Every image once in every pass, in another order each time."""

    def scan(self, default: Path) -> None:
        """None: the order follows from the number of images."""

    def order(self, images: ImageSet, *, scan: Path) -> Order:
        """Reads no scan."""
        return UniformOrder("source", len(images))


@dataclass(frozen=True)
class _Counted:
    """An order that follows from which classes the files show."""

    statistics: str | None
    """File that ``task=scan`` wrote; None for where it writes by default."""

    def scan(self, default: Path) -> Path:
        """The file of ``statistics``."""
        return default if self.statistics is None else Path(self.statistics)


@dataclass(frozen=True)
class ClassBalanced(_Counted):
    """ProCA's list, from FADA (Wang et al., ECCV 2020): see ``class_balanced_draws``."""

    skip_first: bool
    """As the release does: of a shuffled class the first file is left out."""

    def order(self, images: ImageSet, *, scan: Path) -> Order:
        """An error naming ``task=scan`` where the statistics are absent or out of date."""
        found = read_statistics(self.scan(scan), images)
        return ClassBalancedOrder(found.holding(), self.skip_first)


@dataclass(frozen=True)
class RareClass(_Counted):
    """Rare class sampling of DAFormer (Hoyer et al., CVPR 2022), Sec. 3.3: class, then file."""

    temperature: float
    min_pixels: int
    """A file shows a class if it has more than so many pixels of it."""
    min_crop_share: float
    """A view is drawn again while the class covers no more than this share of it."""

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"sampler.temperature must be positive, got {self.temperature}")
        if not 0 <= self.min_crop_share < 1:
            raise ValueError(
                f"sampler.min_crop_share must be a share below 1, got {self.min_crop_share}"
            )

    def order(self, images: ImageSet, *, scan: Path) -> Order:
        """Prints the classes that no file shows well enough, which are never drawn."""
        found = read_statistics(self.scan(scan), images)
        files, dropped = files_by_class(found, self.min_pixels)
        if dropped:
            print(
                f"sampler: no file has more than {self.min_pixels} pixels of {', '.join(dropped)}; "
                "not drawn. Lower sampler.min_pixels to include them"
            )
        if not any(len(rows) for rows in files):
            raise UserError("no file shows any class; lower sampler.min_pixels")
        shown = np.array([len(rows) > 0 for rows in files])
        probability = rare_class_probability(
            found.frequency, temperature=self.temperature, allowed=shown
        )
        return RareClassOrder(probability, files, self.min_crop_share)


@dataclass(frozen=True)
class Portion:
    """A random share of the images, drawn once: CBST (Zou et al., ECCV 2018)."""

    share: float
    """Of all images, in (0, 1]; one is shown at least."""
    draw: int
    """Another number draws others; with the same one a larger share holds the smaller one."""

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"sampler.share must be in (0, 1], got {self.share}")

    def scan(self, default: Path) -> None:
        """None: the order follows from the number of images."""

    def order(self, images: ImageSet, *, scan: Path) -> Order:
        """Reads no scan."""
        return PortionOrder(len(images), max(1, int(self.share * len(images))), self.draw)


UNIFORM = Uniform()


class UniformOrder(NamedTuple):
    """An endless stream of passes over ``size`` images."""

    domain: str
    size: int

    def draw(self, seed: int, position: int) -> Draw:
        """The sample at ``position``."""
        return Draw(order(seed=seed, domain=self.domain, size=self.size, position=position))


class PortionOrder(NamedTuple):
    """An endless stream of passes over ``count`` of ``size`` images."""

    size: int
    count: int
    number: int

    def draw(self, seed: int, position: int) -> Draw:
        """The sample at ``position``."""
        chosen = permutation(seed_of(seed, "portion", self.number), self.size)
        place = order(seed=seed, domain="source", size=self.count, position=position)
        return Draw(int(chosen[place]))


@dataclass
class ClassBalancedOrder:
    """ProCA's list for a seed, as long as it is needed; each block of draws is shuffled.

    The release shuffles the whole list; a block has all that balances it.
    """

    holds: Bool[np.ndarray, "files k"]
    skip_first: bool
    _lists: dict[int, tuple[Iterator[int], list[int]]] = field(default_factory=dict)

    def draw(self, seed: int, position: int) -> Draw:
        """The sample at ``position``; those before it are drawn first, 20 to 40 us each."""
        if seed not in self._lists:
            random = np.random.RandomState(seed_of(seed, "class balanced") % 2**32)
            draws = class_balanced_draws(self.holds, random=random, skip_first=self.skip_first)
            self._lists[seed] = draws, []
        draws, chosen = self._lists[seed]
        block, offset = divmod(position, BLOCK)
        while len(chosen) < (block + 1) * BLOCK:
            chosen.append(next(draws))
        place = permutation(seed_of(seed, "class balanced", block), BLOCK)[offset]
        return Draw(chosen[block * BLOCK + int(place)])

    def __getstate__(self) -> dict[str, object]:
        return {"holds": self.holds, "skip_first": self.skip_first, "_lists": {}}


class RareClassOrder(NamedTuple):
    """Each image is drawn on its own: a class, then one of its files."""

    probability: Float64[np.ndarray, " k"]
    files: list[np.ndarray]
    share: float

    def draw(self, seed: int, position: int) -> Draw:
        """The sample at ``position``, and the class that its view has to show."""
        random = Random(seed_of(seed, "rare class", position))
        (chosen,) = random.choices(range(len(self.files)), self.probability.tolist())
        return Draw(int(random.choice(self.files[chosen])), chosen, self.share)


def files_by_class(
    statistics: Statistics, min_pixels: int
) -> tuple[list[np.ndarray], tuple[str, ...]]:
    """Rows of the files with more than ``min_pixels`` of each class; names of classes with none.

    Classes that occur nowhere are not among the names: nobody expects them.
    """
    files = [column.nonzero()[0] for column in statistics.holding(min_pixels + 1).T]
    present = statistics.pixels.sum(axis=0) > 0
    zipped = zip(statistics.classes, files, present, strict=True)
    return files, tuple(name for name, rows, seen in zipped if seen and not len(rows))


def scan_file(pair: str, classes: str) -> Path:
    """Where ``task=scan`` keeps what it counts of a pair's source in a label space."""
    return SCANS / f"{pair}-{classes}.json".replace("/", "-")


def check_scan(path: Path | None) -> None:
    """Raise UserError if there is no such file of ``task=scan``, where one is needed."""
    if path is not None and not path.is_file():
        raise UserError(
            f"sampler: there is no {path}; count the classes of the source first: add task=scan to "
            "the command, or name its file with sampler.statistics"
        )


def read_statistics(path: Path, images: ImageSet) -> Statistics:
    """What ``task=scan`` counted of ``images``."""
    check_scan(path)
    try:
        return Statistics.from_json(path.read_text()).of(images)
    except ValueError as error:
        raise UserError(f"sampler: {path}: {error}") from error
