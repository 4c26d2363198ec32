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


@dataclass(frozen=True)
class Domain:
    """One side of a pair as the config describes it; ``size`` is (width, height) in training."""

    layout: str
    root: Path | None
    split: str
    size: tuple[int, int]
    validation: str | None = None
    """The split that is scored; only a target has one."""
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
        """The labelled images of the validation split."""
        return replace(self, split=self.validation, list_file=None).images(num_classes, labels=True)


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
    return _pair(
        name,
        Domain.read(source, "dataset.source"),
        Domain.read(target, "dataset.target"),
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
    domains = [
        Domain.read(source, "dataset.source"),
        Domain.read(target, "dataset.target"),
    ]
    if any(domain.root is None for domain in domains):
        from uda_hydra.data.streets import generate

        for domain in domains:
            if domain.root is not None:
                # What is not there must be known before half a minute of drawing.
                domain.images(num_classes, labels=False)
        folder = generate(
            Path(root), seed=seed, gap=gap, height=height, workers=os.cpu_count() or 1, **counts
        )
        names = {"gta5": "GTA5", "synthia": "SYNTHIA", "cityscapes": "Cityscapes"}
        domains = [
            replace(domain, root=domain.root or folder / names[domain.layout]) for domain in domains
        ]
    return _pair(name, *domains, num_classes, oracle, Path(cache_folder) if cache else None)


def _pair(
    name: str,
    source: Domain,
    target: Domain,
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
    return Pair(
        name=name,
        classes=class_names(num_classes),
        source=samples(seen, labelled.size),
        target=samples(target.images(num_classes, labels=False), target.size, labels=False),
        validation=Validation(
            samples(scored, target.size, labels=False), samples(scored, None, images=False)
        ),
        source_classes=seen.shown,
        oracle=oracle,
    )
