"""Reads every file of a data set once and reports what is in it, or what is wrong with it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from jaxtyping import Float

from uda_hydra.data.pool import shared_out
from uda_hydra.data.readers import ImageSet, Sample, UnreadableFile, read_rgb
from uda_hydra.files import printable
from uda_hydra.types import IGNORE

_SHOWN = 5
_MOST_SHOWN = 64
_MOST_VALUES = 4096
"""A label of more values is no label: colours have been smoothed or compressed."""


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
        return {
            raw: [key for key, facts in self.facts.items() if raw in facts.ids]
            for raw in sorted(self.pixels.keys() - known)
        }

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
        return "\n".join(map(_on_one_line, lines))

    def _label_lines(self, labelled: list[Facts]) -> list[str]:
        show = self.image_set.layout.show
        total = sum(self.pixels.values())
        lines = [
            f"  label sizes     {_counted(f.label for f in labelled)}",
            f"  other size      {_some(self.other_size)}",
            f"  raw ids         {', '.join(map(show, sorted(self.pixels)[:_MOST_SHOWN]))}",
        ]
        for raw, keys in [*self.without_class.items()][:_MOST_SHOWN]:
            share = 100 * self.pixels[raw] / total
            lines.append(
                f"  without a class {show(raw)}: {self.pixels[raw]} pixels ({share:.3f} %), "
                f"ignored, in {_some(keys)}"
            )
        lines.append(f"  never shown     {', '.join(self.never_shown) or 'none'}")
        shares = self.shares
        named = [*enumerate(self.image_set.label_space.names), (IGNORE, "ignored")]
        return lines + [f"    {name:<14}{100 * shares[number]:7.3f} %" for number, name in named]


def check(
    image_set: ImageSet,
    *,
    workers: int,
    journal: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    pictures: bool = True,
) -> Report:
    """Read every file of ``image_set`` in ``workers`` processes (0: in this one).

    ``journal`` is a file that remembers what was found sound, so that an interrupted check goes on
    where it stopped and unchanged files are not read twice. ``progress`` hears (done, total).
    Without ``pictures`` labels alone are read; such a check needs a journal of its own.
    """
    if journal:
        journal.parent.mkdir(parents=True, exist_ok=True)
    states = {sample.key: _state(image_set, sample) for sample in image_set.samples}
    known = _remembered(journal) if journal else {}
    facts = {key: known[state] for key, state in states.items() if state in known}
    remembered = len(facts)
    fresh = [sample for sample in image_set.samples if sample.key not in facts]
    progress(remembered, len(states))
    for sample, found in zip(fresh, _examine_all(image_set, fresh, workers, pictures), strict=True):
        facts[sample.key] = found
        if journal and not found.broken:
            _remember(journal, states[sample.key], found)
        progress(len(facts), len(states))
    return Report(image_set, {key: facts[key] for key in states}, remembered)


def _examine_all(
    image_set: ImageSet, samples: list[Sample], workers: int, pictures: bool
) -> Iterator[Facts]:
    """Facts in the order of ``samples``, each as soon as it and those before it are known."""
    examine = partial(_examine, image_set.layout.read_label, pictures)
    yield from shared_out(examine, samples, workers=workers, chunk=4)


def _examine(read_label: Callable[[Path], np.ndarray], pictures: bool, sample: Sample) -> Facts:
    broken: list[str] = []
    image = _attempt(read_rgb, sample.image, broken) if pictures else None
    label = None if sample.label is None else _attempt(read_label, sample.label, broken)
    ids = {} if label is None else _count(label)
    if len(ids) > _MOST_VALUES:
        broken.append(f"{sample.label} holds {len(ids)} values: was it smoothed or compressed?")
        label, ids = None, {}
    return Facts(_size(image), _size(label), ids, tuple(broken))


def _count(label: np.ndarray) -> dict[int, int]:
    """Raw id to its number of pixels."""
    if label.dtype == np.uint32:
        values, counts = np.unique(label, return_counts=True)
    else:
        counts = np.bincount(label.ravel())
        values = counts.nonzero()[0]
        counts = counts[values]
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _attempt(
    read: Callable[[Path], np.ndarray], path: Path, broken: list[str]
) -> np.ndarray | None:
    try:
        return read(path)
    except UnreadableFile as error:
        broken.append(str(error))
        return None


def _state(image_set: ImageSet, sample: Sample) -> str:
    """Changes when a file of the sample does; empty where one cannot be found."""
    parts = [image_set.name]
    for path in filter(None, (sample.image, sample.label)):
        try:
            stat = path.stat()
        except OSError:
            return ""
        # The absolute path, since a copy can break on its way and keep its size and time.
        parts += [str(path.absolute()), str(stat.st_size), str(stat.st_mtime_ns)]
    # The same file read as colours and as raw ids holds other values.
    return " ".join([*parts, str(image_set.layout.values)])


def _remembered(journal: Path) -> dict[str, Facts]:
    """Facts by state; a line torn by an interruption is passed over, its sample read again."""
    known: dict[str, Facts] = {}
    lines = journal.read_text(encoding="utf-8").splitlines() if journal.is_file() else []
    for line in lines:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        state, ids = entry.pop("state"), entry.pop("ids")
        known[state] = Facts(ids={int(raw): pixels for raw, pixels in ids.items()}, **entry)
    return known


def _remember(journal: Path, state: str, facts: Facts) -> None:
    # The newline comes first, so that a torn line before this one spoils nothing but itself.
    with journal.open("a", encoding="utf-8") as file:
        entry = {"state": state, "image": facts.image, "label": facts.label, "ids": facts.ids}
        file.write("\n" + json.dumps(entry))


def _size(pixels: np.ndarray | None) -> str:
    return "" if pixels is None else f"{pixels.shape[1]}x{pixels.shape[0]}"


def _counted(sizes: Iterable[str]) -> str:
    return (
        ", ".join(f"{size} ({count})" for size, count in Counter(sizes).most_common(_SHOWN))
        or "none"
    )


def _some(keys: list[str]) -> str:
    """The number of the samples, and the first of them."""
    more = ", ..." if len(keys) > _SHOWN else ""
    return f"{len(keys)}: {', '.join(keys[:_SHOWN])}{more}" if keys else "none"


def _on_one_line(line: str) -> str:
    return printable(line).replace("\n", "\\n")
