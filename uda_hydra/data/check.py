"""Reads every file of a data set once and reports what is in it, or what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from uda_hydra.data.check_report import Facts, Report
from uda_hydra.data.pool import shared_out
from uda_hydra.data.readers import ImageSet, Layout, Sample, UnreadableFile
from uda_hydra.inputs import shown

_MOST_VALUES = 4096
"""A label of more values is no label: colours have been smoothed or compressed."""


def check(
    image_set: ImageSet,
    *,
    workers: int,
    journal: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    pictures: bool = True,
) -> Report:
    """Read every file of ``image_set`` in ``workers`` processes (0: in this one).

    ``journal`` is a file that remembers what was found sound, so that an interrupted check
    resumes where it stopped and no unchanged file is read twice. ``progress`` gets (done, total).
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
    examine = partial(_examine, image_set.layout, pictures)
    yield from shared_out(examine, samples, workers=workers, chunk=4, fewer="trainer.workers=0")


def _examine(layout: Layout, pictures: bool, sample: Sample) -> Facts:
    broken: list[str] = []
    image = _attempt(layout.read_image, sample.image, broken) if pictures else None
    label = None if sample.label is None else _attempt(layout.read_label, sample.label, broken)
    ids = {} if label is None else _count(label)
    if len(ids) > _MOST_VALUES:
        broken.append(
            f"{shown(sample.label)} holds {len(ids)} values: was it smoothed or compressed?"
        )
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
    lines = journal.read_text(errors="replace").splitlines() if journal.is_file() else []
    for line in lines:
        try:
            entry = json.loads(line)
            ids = {int(raw): int(pixels) for raw, pixels in entry["ids"].items()}
            known[entry["state"]] = Facts(str(entry["image"]), str(entry["label"]), ids)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
    return known


def _remember(journal: Path, state: str, facts: Facts) -> None:
    # The newline comes first, so that a torn line before this one spoils nothing but itself.
    with journal.open("a", encoding="utf-8") as file:
        entry = {"state": state, "image": facts.image, "label": facts.label, "ids": facts.ids}
        file.write("\n" + json.dumps(entry))


def _size(pixels: np.ndarray | None) -> str:
    return "" if pixels is None else f"{pixels.shape[1]}x{pixels.shape[0]}"
