"""Which classes are where: pixels of each class in each label file, for samplers to choose by."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int64

from uda_hydra.data.check import check
from uda_hydra.data.check_report import Report
from uda_hydra.data.readers import ImageSet, Sample, UnreadableFile

_DAMAGED = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)
"""What values of other types or shapes raise."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """Pixels by label file and class; a file is known by its path in the data set and its size."""

    name: str
    """Of the data set."""
    classes: tuple[str, ...]
    files: tuple[tuple[str, int], ...]
    """Path below the data set's root, and bytes."""
    pixels: Int64[np.ndarray, "files k"]
    raw_ids: tuple[tuple[int, ...], ...]
    """Those that were counted for each class."""

    def holding(self, at_least: int = 1) -> Bool[np.ndarray, "files k"]:
        """Which files show so many pixels of which class."""
        return self.pixels >= at_least

    @property
    def frequency(self) -> Float64[np.ndarray, " k"]:
        """Share of each class in all pixels that belong to a class."""
        total = self.pixels.sum(axis=0)
        return total / total.sum()

    def of(self, images: ImageSet) -> Statistics:
        """The same for the samples of ``images`` alone, in their order.

        Raises ValueError where a file was not scanned, has changed since, or has other classes or
        other raw ids of them.
        """
        again = f"Run task=scan for {images.name} at {images.root} again"
        if self.classes != images.label_space.names:
            raise ValueError(f"the scan holds {len(self.classes)} other classes. {again}.")
        if self.raw_ids != images.raw_ids:
            raise ValueError(f"the scan counted other label values for a class. {again}.")
        position = {file: index for index, file in enumerate(self.files)}
        wanted = [_identity(images, sample) for sample in images.samples]
        unknown = [name for name, size in wanted if (name, size) not in position]
        if unknown:
            raise ValueError(
                f"{len(unknown)} label files are new or changed since the scan, "
                f"such as {unknown[0]}. {again}."
            )
        chosen = self.pixels[[position[file] for file in wanted]]
        return Statistics(self.name, self.classes, tuple(wanted), chosen, self.raw_ids)

    def to_json(self) -> str:
        """A text that ``from_json`` understands; one file a line."""
        classes = dict(zip(self.classes, self.raw_ids, strict=True))
        head = json.dumps({"data_set": self.name, "classes": classes})
        rows = [
            f"{json.dumps(name)}: {json.dumps({'bytes': size, 'pixels': counts.tolist()})}"
            for (name, size), counts in zip(self.files, self.pixels, strict=True)
        ]
        return f'{head[:-1]}, "files": {{\n' + ",\n".join(rows) + "\n}}\n"

    @classmethod
    def from_json(cls, text: str) -> Statistics:
        """What ``to_json`` has written; ValueError if that is something else."""
        try:
            values = json.loads(text)
            files = values["files"]
            pixels = np.array([entry["pixels"] for entry in files.values()], np.int64)
            return cls(
                values["data_set"],
                tuple(values["classes"]),
                tuple((name, entry["bytes"]) for name, entry in files.items()),
                pixels.reshape(len(files), len(values["classes"])),
                tuple(map(tuple, values["classes"].values())),
            )
        except _DAMAGED as error:
            raise ValueError("this is no file of task=scan, or damaged. Run it again.") from error


def scan(
    images: ImageSet,
    *,
    workers: int,
    journal: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Statistics:
    """Count the pixels of every label file, as ``check`` reads them: in parallel, resumable."""
    report = check(images, workers=workers, journal=journal, progress=progress, pictures=False)
    if report.broken:
        more = f" and {len(report.broken) - 1} more" if report.broken[1:] else ""
        raise UnreadableFile(f"{report.broken[0]}{more}")
    files = tuple(_identity(images, sample) for sample in images.samples)
    names, raw_ids = images.label_space.names, images.raw_ids
    return Statistics(images.name, names, files, _by_class(report), raw_ids)


def _by_class(report: Report) -> Int64[np.ndarray, "files k"]:
    images = report.image_set
    table = images.table
    pixels = np.zeros((len(images), 256), np.int64)
    for row, sample in zip(pixels, images.samples, strict=True):
        for raw, count in report.facts[sample.key].ids.items():
            row[table[raw]] += count
    return pixels[:, : len(images.label_space)]


def _identity(images: ImageSet, sample: Sample) -> tuple[str, int]:
    if sample.label is None:
        raise ValueError(f"{images.name} was opened without labels, there is nothing to count")
    return sample.label.relative_to(images.root).as_posix(), sample.label.stat().st_size
