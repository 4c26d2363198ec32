"""A data set on disk: which files belong to it, and how they are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8

from uda_hydra.data.labels import class_names, lookup_table, train_ids
from uda_hydra.data.readers.decode import read_rgb


class Sample(NamedTuple):
    """One image of a set; ``key`` is unique in it and may serve as a relative path."""

    key: str
    image: Path
    label: Path | None


@dataclass(frozen=True)
class Layout:
    """A published data set: its form on disk, its raw ids, and how to read a label file."""

    name: str
    tree: str
    """The expected folders, drawn for the one who has to put the files there."""
    download: str
    """What the publisher calls the files to fetch."""
    class_ids: tuple[int, ...]
    """Raw id of each of the 19 classes."""
    known_ids: range
    """Every raw id that the publisher documents."""
    read_label: Callable[[Path], np.ndarray]
    """Raw ids of a label file."""
    never_seen: frozenset[int] = frozenset()
    """Raw ids of classes that no image of the set shows."""

    def folder(self, path: Path) -> Path:
        """``path`` if it is a folder, else an error that tells what to get and where to put it."""
        if path.is_dir():
            return path
        raise FileNotFoundError(
            f"{self.name} is not there: {path} is no folder.\n"
            "Set dataset.source.root (or dataset.target.root, where it is the target) "
            f"to the folder that holds\n{self.tree}\nDownload: {self.download}"
        )

    def choose(self, split: str, splits: tuple[str, ...]) -> None:
        """Refuse a split that the data set does not have."""
        if split not in splits:
            raise ValueError(f"{self.name} has the splits {', '.join(splits)}, not {split!r}")


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Samples of one layout, read as RGB images and as labels of 19, 16 or 13 classes."""

    layout: Layout
    root: Path
    samples: list[Sample]
    num_classes: int

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def name(self) -> str:
        """Name of the published data set."""
        return self.layout.name

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in the order of their numbers."""
        return class_names(self.num_classes)

    @property
    def shown(self) -> tuple[int, ...]:
        """Class numbers that the labels can hold."""
        raw = [self.layout.class_ids[train_id] for train_id in train_ids(self.num_classes)]
        return tuple(i for i, one in enumerate(raw) if one not in self.layout.never_seen)

    @cached_property
    def table(self) -> UInt8[np.ndarray, "raw=256"]:
        """Raw id to class number."""
        return lookup_table(self.layout.class_ids, self.num_classes)

    def read_image(self, sample: Sample) -> UInt8[np.ndarray, "h w 3"]:
        """RGB at the size on disk; ``UnreadableFile`` where the file is damaged."""
        return read_rgb(sample.image)

    def read_label(self, sample: Sample) -> UInt8[np.ndarray, "h w"]:
        """Class numbers at the size on disk, 255 where a pixel belongs to no class."""
        if sample.label is None:
            raise ValueError(f"{self.name} was opened without labels, {sample.key} has none")
        return cv2.LUT(self.layout.read_label(sample.label), self.table)
