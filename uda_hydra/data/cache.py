"""Decode once: a cache of resized images and labels that all runs on a machine share."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from uda_hydra.data.counting import Count
from uda_hydra.data.pool import cores, shared_out
from uda_hydra.data.readers import ImageSet
from uda_hydra.data.samples import ResizedImages
from uda_hydra.data.store import Store
from uda_hydra.errors import UserError
from uda_hydra.files import locked
from uda_hydra.inputs import shown

# Raise it with every change of what ResizedImages returns for a file, or of the form of an entry.
_VERSION = 2
_JOB_FILES = 8
# Below this, starting a process takes longer than the work it takes over.
_WORKER_FILES = 100


class CachedImages:
    """Stands in for a ``ResizedImages``: the same images and labels, decoded when first needed.

    ``fill`` with its ``stores`` decodes all of them at once.
    """

    def __init__(
        self, samples: ResizedImages, folder: Path, *, images: bool = True, labels: bool = True
    ) -> None:
        """Keep ``images``, ``labels`` or both below ``folder``; the rest is decoded each time."""
        files = samples.images.samples
        self.samples = samples
        self.folder = folder
        self.size = samples.size
        self.images = samples.images
        self.keys = samples.keys
        self._images = self._labels = None
        if images:
            place = folder / _name(samples, "images", meaning=samples.filter.encode())
            self._images = Store(
                samples, place, files=[file.image for file in files], decode=ResizedImages.image
            )
        if labels:
            kind = f"labels{len(self.images.label_space)}"
            classes = (self.images.raw_ids, self.images.layout.values)
            place = folder / _name(samples, kind, meaning=repr(classes).encode())
            self._labels = Store(
                samples, place, files=_label_files(self.images), decode=ResizedImages.label
            )

    def at(self, size: tuple[int, int] | None, *, filter: str = "bicubic") -> CachedImages:
        """The same samples at another size, with the same parts kept."""
        return CachedImages(
            self.samples.at(size, filter=filter),
            self.folder,
            images=self._images is not None,
            labels=self._labels is not None,
        )

    @property
    def decoded(self) -> ResizedImages:
        """The same, read from the files whenever asked for."""
        return self.samples

    @property
    def stores(self) -> list[Store]:
        """What ``fill`` has to fill."""
        return [store for store in (self._images, self._labels) if store is not None]

    def image(self, index: int) -> UInt8[Tensor, "3 h w"]:
        """RGB."""
        if self._images is None:
            return self.samples.image(index)
        return self._images.read(index)

    def label(self, index: int) -> UInt8[Tensor, "h w"]:
        """Class numbers, 255 ignored."""
        if self._labels is None:
            return self.samples.label(index)
        return self._labels.read(index)[0]


def _name(samples: ResizedImages, kind: str, *, meaning: bytes) -> str:
    """A folder for each data set, kind, size and ``meaning`` of the values."""
    size = "x".join(map(str, samples.size or ("full",)))
    identity = (_VERSION, str(samples.images.root.resolve()), meaning)
    digest = hashlib.sha256(repr(identity).encode()).hexdigest()[:8]
    return f"{samples.images.name}-{kind}-{size}-{digest}"


def _label_files(images: ImageSet) -> list[Path]:
    files = [sample.label for sample in images.samples if sample.label is not None]
    if len(files) != len(images):
        raise ValueError(f"{images.name} was opened without labels, there are none to keep")
    return files


def fill(stores: Iterable[Store]) -> None:
    """Decode what the ``stores`` of one cache folder lack, in parallel, after a look at the space.

    The first process does the work and later ones wait for it. What was made before an
    interruption or an unreadable file is kept.
    """
    missing = _missing(stores)
    if not missing:
        return
    folder = missing[0].folder.parent
    with _locked(folder):
        # Another process may have made them while this one waited.
        missing = _missing(missing)
        if missing:
            _check_space(missing, folder)
            for store in missing:
                store.sweep()
            _make(missing)


def _missing(stores: Iterable[Store]) -> list[Store]:
    """The part of each store that is not there yet; no file twice, for stores may share some."""
    seen: set[Path] = set()
    parts = []
    for store in stores:
        missing = {i: path for i, path in store.missing().items() if path not in seen}
        seen.update(missing.values())
        if missing:
            parts.append(store.part([*missing]))
    return parts


def _check_space(missing: list[Store], folder: Path) -> None:
    """Print what the missing entries will take; an error if the disk has less."""
    # Files of one store are of one size, or nearly: one stands for all.
    needed = sum(len(store.files) * store.decode(store.samples, 0).numel() for store in missing)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"dataset.cache_folder={folder} has {free / 1e9:.2f} GB free; the decoded images need "
            f"{needed / 1e9:.2f} GB. Free some space or choose another folder, or decode at every "
            "step: dataset.cache=false"
        )
    count = sum(len(store.files) for store in missing)
    print(
        f"cache: decoding {count} files once, {needed / 1e9:.2f} GB in {shown(folder)} "
        f"({free / 1e9:.2f} GB free)"
    )


def _make(missing: list[Store]) -> None:
    jobs = [
        store.part(range(start, min(start + _JOB_FILES, len(store.files))))
        for store in missing
        for start in range(0, len(store.files), _JOB_FILES)
    ]
    total = sum(len(job.files) for job in jobs)
    workers = min(cores(), total // _WORKER_FILES)
    done, count = 0, Count("cache")
    for made in shared_out(_build_all, jobs, workers=workers):
        done += made
        count(done, total)


def _build_all(store: Store) -> int:
    for index in range(len(store.files)):
        store.build(index)
    return len(store.files)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(
                locked(folder / ".lock", waiting=f"cache: waiting for {shown(folder)}")
            )
        except OSError as error:
            raise UserError(
                f"cannot write to dataset.cache_folder={folder} ({error.strerror}). Choose another "
                "folder, or decode at every step: dataset.cache=false"
            ) from error
        yield
