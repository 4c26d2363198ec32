"""Domain pairs as the configs name them: real ones from disk, streets generated on first use."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from uda_hydra.data.cache import Cached
from uda_hydra.data.labels import class_names
from uda_hydra.data.pair import Pair, Validation
from uda_hydra.data.readers import ImageSet, cityscapes, gta5, synthia
from uda_hydra.data.samples import Resized

READERS: dict[str, Callable[..., ImageSet]] = {
    "gta5": gta5,
    "synthia": synthia,
    "cityscapes": cityscapes,
}
NAMES = {"gta5": "GTA5", "synthia": "SYNTHIA", "cityscapes": "Cityscapes"}
"""The folder of each layout in a generated data set."""
HELD_OUT = "held_out"
"""As ``dataset.source.validation`` of streets: scenes that are drawn for it alone."""
HELD_OUT_SEED = 2**31
"""The bit in which the seed of such scenes differs from that of the training set."""


@dataclass(frozen=True)
class Domain:
    """One side of a pair as the config describes it; ``size`` is (width, height) in training."""

    layout: str
    root: Path | None
    split: str
    size: tuple[int, int]
    validation: str | None = None
    """The split that is scored. A target has one; of a source it may not be trained on."""
    validation_count: int | None = None
    """Of a source: score so many images of the split, evenly spaced; all of them without."""
    list_file: Path | None = None
    """Text file with the images of ``split`` to use; all of them without."""
    keep_lost: bool | None = None
    """Of Cityscapes' groups of cities: train on the images that the official lists lose, too."""

    @classmethod
    def read(cls, values: Mapping[str, Any], key: str) -> Domain:
        """Checked values of the config node ``key``."""
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise ValueError(f"there is no key {key}.{name}; there are {', '.join(known)}")
        if values["layout"] not in READERS:
            raise ValueError(
                f"{key}.layout must be one of {', '.join(READERS)}, got {values['layout']!r}"
            )
        if values.get("keep_lost") is not None and values["layout"] != "cityscapes":
            raise ValueError(f"{key}.keep_lost has a meaning only with {key}.layout=cityscapes")
        count = values.get("validation_count")
        if count is not None and (key != "dataset.source" or count < 1):
            raise ValueError(
                "validation_count must be 1 or more, and belongs to dataset.source alone, "
                f"got {key}.validation_count={count}"
            )
        size = tuple(values["size"])
        if len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
            raise ValueError(f"{key}.size must be [width, height] in pixels, got {[*size]}")
        paths = {
            name: None if values.get(name) is None else Path(values[name])
            for name in ("root", "list_file")
        }
        return cls(**{**values, **paths, "size": size})

    def images(self, num_classes: int, *, labels: bool) -> ImageSet:
        """The images of ``split``; without ``labels`` no label file is looked for."""
        own = {} if self.keep_lost is None else {"keep_lost": self.keep_lost}
        return READERS[self.layout](
            self.root,
            num_classes=num_classes,
            split=self.split,
            labels=labels,
            list_file=self.list_file,
            **own,
        )

    def scored(self, num_classes: int) -> ImageSet:
        """The labelled images of the validation split, or as many as ``validation_count`` says."""
        split = replace(self, split=self.validation, list_file=None)
        images = split.images(num_classes, labels=True)
        total = len(images)
        count = min(self.validation_count or total, total)
        return replace(images, samples=[images.samples[i * total // count] for i in range(count)])


def real(
    *,
    name: str,
    num_classes: int,
    oracle: bool,
    cache: bool,
    cache_folder: str,
    source: Mapping[str, Any],
    target: Mapping[str, Any],
) -> Pair:
    """A pair of data sets on disk. ``oracle`` takes the labelled target in the source's place.

    With ``cache`` every file is decoded once, and kept in ``cache_folder``.
    """
    domain = Domain.read(source, "dataset.source")
    return _pair(
        name,
        domain,
        Domain.read(target, "dataset.target"),
        domain if domain.validation is not None else None,
        num_classes,
        oracle,
        Path(cache_folder) if cache else None,
    )


def streets(
    *,
    name: str,
    root: str,
    seed: int,
    gap: float,
    height: int,
    counts: Mapping[str, int],
    num_classes: int,
    oracle: bool,
    cache: bool,
    cache_folder: str,
    source: Mapping[str, Any],
    target: Mapping[str, Any],
) -> Pair:
    """An embedded pair; a domain whose root is given is read from there instead."""
    from uda_hydra.data.streets import generate

    domains = [
        Domain.read(source, "dataset.source"),
        Domain.read(target, "dataset.target"),
    ]
    for domain in domains:
        if domain.root is not None:
            # What is not there must be known before half a minute of drawing.
            domain.images(num_classes, labels=False)
    extra = _held_out_count(domains[0])
    drawn = {"seed": seed, "gap": gap, "height": height, "workers": os.cpu_count() or 1}
    if any(domain.root is None for domain in domains):
        folder = generate(Path(root), **drawn, **counts)
        domains = [
            replace(domain, root=domain.root or folder / NAMES[domain.layout]) for domain in domains
        ]
    scored = domains[0] if domains[0].validation is not None else None
    if extra and not oracle:
        nothing = dict.fromkeys(("source", "synthia", "target", "validation"), 0)
        drawn["seed"] ^= HELD_OUT_SEED
        folder = generate(Path(root), **drawn, **(nothing | extra))
        scored = replace(domains[0], root=folder / NAMES[domains[0].layout], validation="all")
    return _pair(
        name,
        *domains,
        scored,
        num_classes,
        oracle,
        Path(cache_folder) if cache else None,
    )


def _held_out_count(source: Domain) -> dict[str, int]:
    """How many scenes of which domain ``HELD_OUT`` asks for; nothing where it is not chosen."""
    if source.validation != HELD_OUT:
        return {}
    parts = {"gta5": "source", "synthia": "synthia"}
    if source.root is not None or source.layout not in parts or source.validation_count is None:
        raise ValueError(
            f"dataset.source.validation={HELD_OUT} draws dataset.source.validation_count scenes, "
            "in the layouts gta5 and synthia and where dataset.source.root is null; here give the "
            "split to score, such as val, or null"
        )
    return {parts[source.layout]: source.validation_count}


def _pair(
    name: str,
    source: Domain,
    target: Domain,
    held_out: Domain | None,
    num_classes: int,
    oracle: bool,
    cache: Path | None,
) -> Pair:
    def samples(
        chosen: ImageSet, size: tuple[int, int] | None, *, images: bool = True, labels: bool = True
    ) -> Resized | Cached:
        decoded = Resized(chosen, size)
        return decoded if cache is None else Cached(decoded, cache, images=images, labels=labels)

    labelled = target if oracle else source
    seen = labelled.images(num_classes, labels=True)
    scored = target.scored(num_classes)

    def validation(of: ImageSet, size: tuple[int, int]) -> Validation:
        return Validation(samples(of, size, labels=False), samples(of, None, images=False))

    # The upper bound needs no source on disk.
    source_validation = None
    if held_out is not None and not oracle:
        chosen = held_out.scored(num_classes)
        _check_apart(chosen, seen)
        source_validation = validation(chosen, source.size)
    return Pair(
        name=name,
        classes=class_names(num_classes),
        source=samples(seen, labelled.size),
        target=samples(target.images(num_classes, labels=False), target.size, labels=False),
        validation=validation(scored, target.size),
        source_classes=seen.shown,
        oracle=oracle,
        source_validation=source_validation,
    )


def _check_apart(held_out: ImageSet, trained: ImageSet) -> None:
    """No image may be held out and trained on."""
    files = {sample.image for sample in trained.samples}
    both = sum(sample.image in files for sample in held_out.samples)
    if both:
        raise ValueError(
            f"dataset.source.split trains on {both} of the {len(held_out)} images of "
            "dataset.source.validation; choose split=train beside validation=val, or "
            "validation=null"
        )
