"""The classes of a benchmark: what is learned, scored and drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

from uda_hydra.types import IGNORE

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class LabelSpace:
    """Classes, numbered by their places in ``names``; ``colours`` are RGB, one a class.

    ``subsets`` are scored as well, by the name of their mean IoU: {"miou_13": classes}.
    Raises ValueError where the parts do not fit together.
    """

    name: str
    names: tuple[str, ...]
    colours: tuple[Colour, ...]
    subsets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    merged: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Further classes of data sets that a class takes in: {"sign": ("traffic light", ...)}."""
    listed: Mapping[str, Mapping[str, tuple[int | str, ...]]] = field(default_factory=dict)
    """Values of the user's own label files, by domain and class: raw ids or '#rrggbb' colours."""
    ignored: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict)
    """Values of the user's own label files that belong to no class, by domain."""

    def __post_init__(self) -> None:
        if not 2 <= len(self.names) <= IGNORE:
            raise ValueError(f"{self.name} must have 2 to {IGNORE} classes, got {len(self.names)}")
        repeated = [name for name in dict.fromkeys(self.names) if self.names.count(name) > 1]
        if repeated:
            raise ValueError(f"{self.name} names a class twice: {', '.join(repeated)}")
        if len(self.colours) != len(self.names):
            raise ValueError(f"{self.name} must give each of its classes one colour")
        for key, classes in [*self.subsets.items(), ("merged", tuple(self.merged))]:
            unknown = [name for name in classes if name not in self.names]
            if unknown:
                raise ValueError(f"{key} of {self.name} has unknown classes: {', '.join(unknown)}")
        taken = [part for name in self.names for part in (name, *self.merged.get(name, ()))]
        repeated = [part for part in dict.fromkeys(taken) if taken.count(part) > 1]
        if repeated:
            raise ValueError(f"{self.name} merges {', '.join(repeated)} into more than one class")

    def __len__(self) -> int:
        return len(self.names)

    def raw_ids(self, classes: Mapping[str, tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
        """Raw ids of each class by number, where ``classes`` gives those of a data set's classes.

        A class that the data set does not have has none.
        """
        return tuple(
            tuple(
                raw for part in (name, *self.merged.get(name, ())) for raw in classes.get(part, ())
            )
            for name in self.names
        )

    def colourise(self, label: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
        """RGB picture of class numbers; ignored pixels are black."""
        colours = np.zeros((256, 3), np.uint8)
        colours[: len(self)] = self.colours
        return colours[label]
