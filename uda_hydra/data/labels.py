"""Classes, their numbers in each data set, their colours, and the one look-up between them.

A *raw id* is what a label file holds, a *train id* is what a network learns: 0 to classes - 1,
and ``IGNORE`` for every pixel that takes part in nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

from uda_hydra.types import IGNORE

CLASSES = (
    "road",
    "sidewalk",
    "building",
    "wall",
    "fence",
    "pole",
    "traffic light",
    "traffic sign",
    "vegetation",
    "terrain",
    "sky",
    "person",
    "rider",
    "car",
    "truck",
    "bus",
    "train",
    "motorcycle",
    "bicycle",
)
"""The 19 classes of the Cityscapes benchmark, in the order of their train ids."""

CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Raw id of each class in Cityscapes and GTA5."""

# Lane marking (22) is not road here: all releases ignore it.
SYNTHIA_IDS = (3, 4, 2, 21, 5, 7, 15, 9, 6, 16, 1, 10, 17, 8, 18, 19, 20, 12, 11)
"""Raw id of each class in SYNTHIA-RAND-CITYSCAPES."""

PALETTE: UInt8[np.ndarray, "classes=19 rgb=3"] = np.array(
    [
        (128, 64, 128),
        (244, 35, 232),
        (70, 70, 70),
        (102, 102, 156),
        (190, 153, 153),
        (153, 153, 153),
        (250, 170, 30),
        (220, 220, 0),
        (107, 142, 35),
        (152, 251, 152),
        (70, 130, 180),
        (220, 20, 60),
        (255, 0, 0),
        (0, 0, 142),
        (0, 0, 70),
        (0, 60, 100),
        (0, 80, 100),
        (0, 0, 230),
        (119, 11, 32),
    ],
    dtype=np.uint8,
)
"""Official RGB colour of each class."""


@dataclass(frozen=True)
class LabelSpace:
    """The classes of a benchmark: what is learned, scored and drawn.

    A class is numbered by its place in ``names``; ``colours`` are RGB, one a class. ``subsets``
    are scored beside the whole, by the name of their mean IoU: {"miou_13": names of classes}.
    """

    name: str
    names: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    subsets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 2 <= len(self.names) <= IGNORE:
            raise ValueError(f"{self.name} must have 2 to {IGNORE} classes, got {len(self.names)}")
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"{self.name} names a class twice: {', '.join(self.names)}")
        if len(self.colours) != len(self.names):
            raise ValueError(f"{self.name} must give each of its classes one colour")
        for metric, classes in self.subsets.items():
            unknown = [name for name in classes if name not in self.names]
            if unknown:
                raise ValueError(f"{metric} of {self.name} names no class: {', '.join(unknown)}")

    def __len__(self) -> int:
        return len(self.names)

    def colourise(self, label: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
        """RGB picture of class numbers; ignored pixels are black."""
        colours = np.zeros((256, 3), np.uint8)
        colours[: len(self)] = self.colours
        return colours[label]


# SYNTHIA has no terrain, truck or train; the 13 of its older protocol also lack wall, fence, pole.
_PROTOCOLS = {
    19: tuple(range(19)),
    16: (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 15, 17, 18),
    13: (0, 1, 2, 6, 7, 8, 10, 11, 12, 13, 15, 17, 18),
}


def train_ids(num_classes: int) -> tuple[int, ...]:
    """Which of the 19 classes take part, in the order in which they are renumbered from 0."""
    if num_classes not in _PROTOCOLS:
        raise ValueError(f"dataset.num_classes must be 19, 16 or 13, got {num_classes}")
    return _PROTOCOLS[num_classes]


def class_names(num_classes: int) -> tuple[str, ...]:
    """Names of the classes in the order of their numbers."""
    return tuple(CLASSES[train_id] for train_id in train_ids(num_classes))


def lookup_table(ids: Sequence[int], num_classes: int) -> UInt8[np.ndarray, "raw=256"]:
    """Raw id to class number; ``ids`` holds the raw id of each of the 19 classes."""
    table = np.full(256, IGNORE, np.uint8)
    for number, train_id in enumerate(train_ids(num_classes)):
        table[ids[train_id]] = number
    return table


def colourise(label: UInt8[np.ndarray, "h w"], num_classes: int) -> UInt8[np.ndarray, "h w 3"]:
    """RGB picture of class numbers in the official colours; everything else is black."""
    colours = np.zeros((256, 3), np.uint8)
    colours[:num_classes] = PALETTE[list(train_ids(num_classes))]
    return colours[label]
