"""A data set on disk: which files belong to it, and how they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Integer, UInt8

from uda_hydra.data.label_space import LabelSpace
from uda_hydra.data.readers.decode import read_index_label, read_rgb
from uda_hydra.files import remembered_digest
from uda_hydra.types import IGNORE


class Sample(NamedTuple):
    """One image of a set; ``key`` is unique in it and may serve as a relative path."""

    key: str
    image: Path
    label: Path | None


@dataclass(frozen=True, eq=False)
class Layout:
    """The form of a data set on disk: its folders, its raw ids, and how to read a label file."""

    name: str
    ids: Mapping[str, tuple[int, ...]]
    """Raw ids of each class, by the data set's own names of its classes."""
    known_ids: Collection[int]
    """Raw ids that are documented, those of no class too."""
    tree: str = ""
    """The expected folders, drawn for the one who has to put the files there."""
    download: str = ""
    """What the publisher calls the files to fetch."""
    read_image: Callable[[Path], UInt8[np.ndarray, "h w 3"]] = read_rgb
    """RGB of an image file."""
    read_label: Callable[[Path], Integer[np.ndarray, "h w"]] = read_index_label
    """Raw ids of a label file."""
    values: int = 256
    """Raw ids are smaller than this."""
    absent: tuple[str, ...] = ()
    """Classes with an id that no image of the set shows."""
    show: Callable[[int], str] = str
    """A raw id for a person."""
    published: bool = True
    """Whether another raw id means that a file is damaged, and labels of another size are normal.

    In somebody's own folders, where nobody lists all ids, it is the sizes that must agree.
    """

    def folder(self, path: Path) -> Path:
        """``path`` if it is a folder, else an error that says what to get and where to put it."""
        if path.is_dir():
            return path
        raise FileNotFoundError(
            f"{self.name} is not there: {path} is not a folder.\n"
            "Set its root (dataset.source.root or dataset.target.root) to the folder that holds\n"
            f"{self.tree}\nDownload: {self.download}"
        )

    def choose(self, split: str | list[str], splits: tuple[str, ...]) -> list[str]:
        """``split`` as a list; ValueError for one that the data set does not have, and for none."""
        chosen = [split] if isinstance(split, str) else split
        unknown = [one for one in chosen if one not in splits]
        if unknown or not chosen:
            wrong = unknown[0] if unknown else chosen
            raise ValueError(f"{self.name} has the splits {', '.join(splits)}, not {wrong!r}")
        return [*dict.fromkeys(chosen)]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Samples of one layout, read as RGB images and as labels of a label space."""

    layout: Layout
    root: Path
    samples: list[Sample]
    label_space: LabelSpace
    generated: str | None = None
    """What decides the content of generated files; their times then mean nothing."""

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def name(self) -> str:
        """Name of the data set."""
        return self.layout.name

    @property
    def raw_ids(self) -> tuple[tuple[int, ...], ...]:
        """Raw ids of each class, by class number."""
        return self.label_space.raw_ids(self.layout.ids)

    @property
    def shown(self) -> tuple[int, ...]:
        """Class numbers that the labels can hold."""
        absent = {raw for name in self.layout.absent for raw in self.layout.ids[name]}
        return tuple(number for number, ids in enumerate(self.raw_ids) if {*ids} - absent)

    @property
    def table(self) -> UInt8[np.ndarray, " raw"]:
        """Raw id to class number, 255 where it belongs to no class."""
        return class_table(self.raw_ids, self.layout.values)

    def read_image(self, sample: Sample) -> UInt8[np.ndarray, "h w 3"]:
        """RGB at the size on disk; ``UnreadableFile`` where the file is damaged."""
        return self.layout.read_image(sample.image)

    def read_label(self, sample: Sample) -> UInt8[np.ndarray, "h w"]:
        """Class numbers at the size on disk, 255 where a pixel belongs to no class."""
        if sample.label is None:
            raise ValueError(f"{self.name} was opened without labels, {sample.key} has none")
        raw = self.layout.read_label(sample.label)
        return cv2.LUT(raw, self.table[:256]) if raw.dtype == np.uint8 else self.table[raw]

    def fingerprint(self, *, content: bool = False) -> str:
        """Changes when a sample is added, removed or renamed, or a file of one is edited.

        Files are known by size and time of change, with ``content`` by SHA-256, and generated ones
        by what decides them. Of a labelled set the labels count and the class of each raw id too.
        """
        known = hashlib.sha256(f"{self.name} {self.generated}".encode())
        if any(sample.label for sample in self.samples):
            known.update(repr((self.label_space.names, self.raw_ids)).encode())
        for sample in self.samples:
            known.update(f"\n{sample.key}".encode(errors="surrogateescape"))
            for file in filter(None, (sample.image, sample.label)):
                known.update(self._state(file, content).encode())
        return known.hexdigest()[:16]

    def _state(self, file: Path, content: bool) -> str:
        if content:
            return f" {remembered_digest(file)}"
        if self.generated is not None:
            return ""
        state = file.stat()
        return f" {state.st_size} {state.st_mtime_ns}"


@lru_cache(maxsize=16)
def class_table(raw_ids: tuple[tuple[int, ...], ...], values: int) -> UInt8[np.ndarray, " raw"]:
    """Raw id to class number for ids below ``values``; shared by all sets, so it stays unchanged.

    ``raw_ids`` holds those of each class.
    """
    table = np.full(values, IGNORE, np.uint8)
    for number, ids in enumerate(raw_ids):
        table[list(ids)] = number
    table.flags.writeable = False
    return table
