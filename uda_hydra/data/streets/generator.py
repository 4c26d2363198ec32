"""Makes the data set on disk: in parallel, all or nothing, one folder for each recipe."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from uda_hydra.data.counting import Count
from uda_hydra.data.pool import shared_out
from uda_hydra.data.streets import layouts
from uda_hydra.data.streets.appearance import photograph
from uda_hydra.data.streets.gap import WHOLE_GAP, Gap, domain
from uda_hydra.data.streets.scene import compose
from uda_hydra.files import locked
from uda_hydra.inputs import shown

GENERATOR_VERSION = 2
"""To be raised with every change of what is drawn or written; old folders stay as they are."""

_SMALLEST, _LARGEST = 64, 1024
_MOST = 1_000_000
"""Images of a part; a million take days to draw."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the content of the data set. Counts may be 0."""

    seed: int
    gap: Gap
    height: int  # of the target's images
    source: int
    synthia: int
    target: int
    validation: int

    def __post_init__(self) -> None:
        if not _SMALLEST <= self.height <= _LARGEST:
            raise ValueError(
                f"dataset.height must lie in {_SMALLEST}..{_LARGEST}, got {self.height}"
            )
        if self.seed < 0:
            raise ValueError(f"dataset.seed must not be negative, got {self.seed}")
        for name in ("source", "synthia", "target", "validation"):
            count = asdict(self)[name]
            if not (isinstance(count, int) and 0 <= count <= _MOST):
                raise ValueError(f"dataset.counts.{name} must lie in 0..{_MOST}, got {count}")

    @property
    def folder(self) -> str:
        """Name that no other recipe, version or set of gap constants shares."""
        domains = [repr(domain(name, self.gap)) for name in layouts.REAL_SIZES]
        key = hashlib.sha256(json.dumps([asdict(self), domains]).encode()).hexdigest()[:10]
        return f"v{GENERATOR_VERSION}-{key}"

    @property
    def jobs(self) -> list[ImageJob]:
        """One job for each image."""
        counts = (self.source, self.synthia, self.target, self.validation)
        return [
            ImageJob(part, index) for part, count in enumerate(counts) for index in range(count)
        ]


class ImageJob(NamedTuple):
    """One image: a part of the data set (place in ``_PARTS``) and a number in it."""

    part: int
    index: int


FEWEST = 24
"""Images that are worth a process, which takes a second to start."""

# The place of a part enters its random numbers: append, never reorder.
_PARTS = (("GTA5", ""), ("SYNTHIA", ""), ("Cityscapes", "train"), ("Cityscapes", "val"))


def generate(
    root: Path,
    *,
    seed: int,
    gap: Gap = WHOLE_GAP,
    height: int,
    source: int = 0,
    synthia: int = 0,
    target: int = 0,
    validation: int = 0,
    workers: int,
) -> Path:
    """Folder below ``root`` with GTA5, SYNTHIA and Cityscapes as their readers expect them.

    The first call with these parameters makes it, later ones return at once. ``height`` is the
    target's; the other domains get the same width. Each image depends on the seed, its domain,
    its number, the gap and the size alone, not on ``workers`` or the other counts. A part without
    a count is not drawn.
    """
    recipe = Recipe(seed, gap, height, source, synthia, target, validation)
    final = root / recipe.folder
    if final.is_dir():
        return final
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = root / f".{recipe.folder}.lock"
        with locked(lock, waiting=f"streets: waiting for {shown(final)}"):
            if not final.is_dir():
                _make(recipe, final, workers)
    except OSError as error:
        raise OSError(
            f"cannot write the streets data set to {root}: {error}. "
            "Free some space there, or choose another folder"
        ) from error
    return final


def _make(recipe: Recipe, final: Path, workers: int) -> None:
    """Fill a temporary sibling and give it its name last. The caller holds the lock."""
    # Their processes are dead, or they would hold the lock.
    for stale in final.parent.glob(f".{final.name}.partial-*"):
        shutil.rmtree(stale)
    partial_folder = final.parent / f".{final.name}.partial-{os.getpid()}"
    partial_folder.mkdir()
    try:
        _draw_all(recipe, partial_folder, workers)
        text = json.dumps(
            {"generator": GENERATOR_VERSION, **asdict(recipe), "gap": recipe.gap._asdict()},
            indent=2,
        )
        (partial_folder / "streets.json").write_text(text + "\n")
        partial_folder.replace(final)
    except BaseException:
        shutil.rmtree(partial_folder, ignore_errors=True)
        raise


def _draw_all(recipe: Recipe, folder: Path, workers: int) -> None:
    # Imported late: it brings torch, which the worker processes can do without.
    from uda_hydra.data.labels import CITYSCAPES19
    from uda_hydra.data.readers import cityscapes, synthia

    jobs = recipe.jobs
    tables = layouts.make_tables(CITYSCAPES19, cityscapes.IDS, synthia.IDS)
    draw = partial(_draw, folder, recipe, tables)
    drawn = shared_out(draw, jobs, workers=min(workers, len(jobs) // FEWEST), chunk=8)
    count = Count("streets")
    for done, _ in enumerate(drawn, 1):
        count(done, len(jobs))


def _draw(folder: Path, recipe: Recipe, tables: layouts.Tables, job: ImageJob) -> None:
    """Render one image and write it with its label."""
    name, split = _PARTS[job.part]
    image, raw = render(job, recipe)
    if name == "GTA5":
        layouts.write_gta5(folder / name, job.index, image, raw, tables)
    elif name == "SYNTHIA":
        layouts.write_synthia(folder / name, job.index, image, raw, tables)
    else:
        layouts.write_cityscapes(folder / name, split, job.index, image, raw)


def render(
    job: ImageJob, recipe: Recipe
) -> tuple[UInt8[np.ndarray, "h w rgb=3"], UInt8[np.ndarray, "h w"]]:
    """Picture and raw ids of one job."""
    name, _ = _PARTS[job.part]
    at_gap = domain(name, recipe.gap)
    # Two streams: the size of the image, which the second one depends on, cannot move a house.
    scenery, camera = np.random.default_rng([recipe.seed, *job]).spawn(2)
    scene = compose(scenery, at_gap)
    return photograph(camera, scene, at_gap, layouts.image_size(name, recipe.height))
