"""What is in a data set, and what does not fit, as a report for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Float

from uda_hydra.data.readers import ImageSet
from uda_hydra.inputs import shown
from uda_hydra.types import IGNORE

_SHOWN = 5
_MOST_IDS = 64


@dataclass(frozen=True)
class Facts:
    """What one sample holds; sizes are "<width>x<height>", empty where nothing could be read."""

    image: str = ""
    label: str = ""
    ids: dict[int, int] = field(default_factory=dict)
    """Raw id to its number of pixels."""
    broken: tuple[str, ...] = ()
    """One message for each file that cannot be read."""


@dataclass(frozen=True)
class Report:
    """What ``check`` has learnt: the facts of each sample by key, and how many it knew before."""

    image_set: ImageSet
    facts: dict[str, Facts]
    remembered: int

    @property
    def broken(self) -> list[str]:
        """One message for each file that cannot be read."""
        return [message for facts in self.facts.values() for message in facts.broken]

    @cached_property
    def pixels(self) -> Counter[int]:
        """Number of pixels of each raw id, over all labels."""
        total: Counter[int] = Counter()
        for facts in self.facts.values():
            total.update(facts.ids)
        return total

    @cached_property
    def without_class(self) -> dict[int, list[str]]:
        """Raw ids that are ignored and not documented, with the keys of the samples that hold them.

        In a published data set they should not occur; in a user's own a class may lack them.
        """
        known = set(self.image_set.layout.known_ids)
        holding: dict[int, list[str]] = {}
        for key, facts in self.facts.items():
            for raw in facts.ids.keys() - known:
                holding.setdefault(raw, []).append(key)
        return dict(sorted(holding.items()))

    @property
    def other_size(self) -> list[str]:
        """Keys of the samples whose label has another size than their image."""
        return [
            key
            for key, facts in self.facts.items()
            if facts.image and facts.label and facts.image != facts.label
        ]

    @property
    def never_shown(self) -> list[str]:
        """Classes that no label shows."""
        names = self.image_set.label_space.names
        return [name for name, share in zip(names, self.shares, strict=False) if share == 0]

    @property
    def problems(self) -> list[str]:
        """What makes the set unfit for training, each with its remedy."""
        found = [f"{len(self.broken)} broken files; replace them"] if self.broken else []
        if self.image_set.layout.published:
            if self.without_class:
                found.append("raw ids that the data set does not have; replace these labels")
        elif self.other_size:
            found.append(
                "labels of another size than their images; export both at one size, or leave them "
                "out with list_file"
            )
        if self.shares[IGNORE] == 1:
            found.append("no pixel belongs to a class; compare the raw ids with dataset.classes")
        return found

    @property
    def ok(self) -> bool:
        """Whether the set is fit for training."""
        return not self.problems

    @cached_property
    def shares(self) -> Float[np.ndarray, "numbers=256"]:
        """Share of the pixels by class number, 255 being those ignored; nan without labels."""
        counts = np.zeros(256)
        table = self.image_set.table
        for raw, pixels in self.pixels.items():
            counts[table[raw]] += pixels
        return counts / (counts.sum() or np.nan)

    def text(self) -> str:
        """The report for a person."""
        facts = self.facts.values()
        labelled = [f for f in facts if f.label]
        lines = [
            f"{self.image_set.name} at {self.image_set.root}",
            f"  images          {len(facts)} ({self.remembered} unchanged since an earlier check)",
            f"  image sizes     {_counted(f.image for f in facts if f.image)}",
            f"  labels          {len(labelled) or 'none opened'}",
        ]
        lines += self._label_lines(labelled) if labelled else []
        lines.append(f"  broken files    {len(self.broken) or 'none'}")
        lines += [f"    {message}" for message in self.broken[:_SHOWN]]
        lines += [f"  unfit           {problem}" for problem in self.problems]
        return "\n".join(map(shown, lines))

    def _label_lines(self, labelled: list[Facts]) -> list[str]:
        show = self.image_set.layout.show
        total = sum(self.pixels.values())
        lines = [
            f"  label sizes     {_counted(f.label for f in labelled)}",
            f"  other size      {_some(self.other_size)}",
            f"  raw ids         {', '.join(map(show, sorted(self.pixels)[:_MOST_IDS]))}",
        ]
        for raw, keys in [*self.without_class.items()][:_MOST_IDS]:
            share = 100 * self.pixels[raw] / total
            lines.append(
                f"  without a class {show(raw)}: {self.pixels[raw]} pixels ({share:.3f} %), "
                f"ignored, in {_some(keys)}"
            )
        lines.append(f"  never shown     {', '.join(self.never_shown) or 'none'}")
        shares = self.shares
        named = [*enumerate(self.image_set.label_space.names), (IGNORE, "ignored")]
        return lines + [f"    {name:<14}{100 * shares[number]:7.3f} %" for number, name in named]


def _counted(sizes: Iterable[str]) -> str:
    return (
        ", ".join(f"{size} ({count})" for size, count in Counter(sizes).most_common(_SHOWN))
        or "none"
    )


def _some(keys: list[str]) -> str:
    """The number of the samples, and the first of them."""
    more = ", ..." if len(keys) > _SHOWN else ""
    return f"{len(keys)}: {', '.join(keys[:_SHOWN])}{more}" if keys else "none"
