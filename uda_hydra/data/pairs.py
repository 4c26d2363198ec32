"""Domain pairs as the configs name them: real ones from disk, streets generated on first use."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from uda_hydra.data.cache import CachedImages
from uda_hydra.data.domain import Domain
from uda_hydra.data.label_space import LabelSpace
from uda_hydra.data.labels import label_space
from uda_hydra.data.pair import Pair, Validation
from uda_hydra.data.pool import cores
from uda_hydra.data.readers import ImageSet
from uda_hydra.data.samples import ResizedImages
from uda_hydra.errors import nearest
from uda_hydra.inputs import shown

FOLDERS = {"gta5": "GTA5", "synthia": "SYNTHIA", "cityscapes": "Cityscapes"}
"""The folder of each layout in a generated data set."""
HELD_OUT = "held_out"
"""As ``dataset.source.validation`` of streets: scenes that are drawn for it alone."""
HELD_OUT_SEED = 2**31
"""The bit in which the seed of such scenes differs from that of the training set."""
AUTO = "auto"
"""As ``dataset.source.validation`` of streets: ``held_out`` where scenes are drawn, else null."""
_DRAWN_APART = ("gta5", "synthia")
"""The layouts in which scenes can be held out."""

_COUNTS = {"gta5": "source", "synthia": "synthia", "cityscapes": "target"}
"""The layouts that are drawn, and the name in ``counts`` of the number of their images."""


def holds_out(source: Mapping[str, Any]) -> bool:
    """Whether source images are kept from training, by the node ``dataset.source``."""
    chosen = source.get("validation")
    return _can_be_drawn(source) if chosen == AUTO else chosen is not None


def _can_be_drawn(source: Mapping[str, Any]) -> bool:
    drawn = source.get("root") is None and source["layout"] in _DRAWN_APART
    return drawn and source.get("validation_count") is not None


def from_disk(
    *,
    name: str,
    classes: str,
    oracle: bool,
    cache: bool,
    cache_folder: str,
    source: Mapping[str, Any],
    target: Mapping[str, Any],
) -> Pair:
    """A pair of data sets on disk. ``oracle`` takes the labelled target in the source's place.

    ``classes`` is the name of a label space or a YAML file. With ``cache`` every file is decoded
    once, and kept in ``cache_folder``.
    """
    assembly = _Assembly(name, label_space(classes), oracle, Path(cache_folder) if cache else None)
    return assembly.pair(
        Domain.read(source, "dataset.source"), Domain.read(target, "dataset.target")
    )


def streets(
    *,
    name: str,
    root: str,
    seed: int,
    gap: Mapping[str, float],
    height: int,
    counts: Mapping[str, int],
    classes: str,
    oracle: bool,
    cache: bool,
    cache_folder: str,
    source: Mapping[str, Any],
    target: Mapping[str, Any],
) -> Pair:
    """An embedded pair; a domain whose root is given is read from there instead."""
    from uda_hydra.data.streets import generate, read_gap

    assembly = _Assembly(name, label_space(classes), oracle, Path(cache_folder) if cache else None)
    _check_counts(counts)
    source, drawn_apart = _held_out(source)
    domains, drawn = [], []
    for values, key in ((source, "dataset.source"), (target, "dataset.target")):
        domains.append(Domain.read({**values, "root": values.get("root") or root}, key))
        drawn.append(values.get("root") is None)
        # What is not there must be known before half a minute of drawing.
        if not drawn[-1]:
            domains[-1].images(assembly.label_space, labelled=False)
            continue
        if (layout := domains[-1].layout) not in FOLDERS:
            raise ValueError(
                f"{key}.layout={layout} cannot be drawn, as {', '.join(FOLDERS)} can; set "
                f"{key}.root to the folder of its files"
            )
        scored = ["validation"] if values.get("validation") == "val" else []
        for part in (_COUNTS[layout], *scored):
            if not counts.get(part):
                raise ValueError(f"dataset.counts.{part} must be positive, for {key} is drawn")
    recipe = {"seed": seed, "gap": read_gap(gap), "height": height, "workers": cores()}
    if any(drawn):
        folder = generate(Path(root), **recipe, **counts)
        domains = [
            _drawn_into(domain, folder) if of_streets else domain
            for domain, of_streets in zip(domains, drawn, strict=True)
        ]
    held_out = None
    if drawn_apart and not oracle:
        recipe["seed"] = seed ^ HELD_OUT_SEED
        folder = generate(Path(root), **recipe, **drawn_apart)
        held_out = replace(_drawn_into(domains[0], folder), validation={"split": "all"})
    return assembly.pair(*domains, held_out)


def _check_counts(counts: Mapping[str, int]) -> None:
    known = (*_COUNTS.values(), "validation")
    for part in counts:
        if part not in known:
            raise ValueError(f"there is no key dataset.counts.{part}{nearest(part, known)}")


def _held_out(source: Mapping[str, Any]) -> tuple[Mapping[str, Any], dict[str, int]]:
    """The source without ``AUTO`` and ``HELD_OUT``, and the number of scenes that these draw."""
    chosen = source.get("validation")
    if chosen not in (AUTO, HELD_OUT):
        return source, {}
    rest = {**source, "validation": None}
    if _can_be_drawn(source):
        return rest, {_COUNTS[source["layout"]]: source["validation_count"]}
    remedy = "dataset.source.validation may name a split to score, such as val"
    if chosen == HELD_OUT:
        raise ValueError(
            f"dataset.source.validation={HELD_OUT} draws dataset.source.validation_count scenes, "
            "in the layouts gta5 and synthia and where dataset.source.root is null; here give the "
            "split to score, such as val, or null"
        )
    print(f"no source images are held out, since the source is not drawn; {remedy}")
    return rest, {}


def _drawn_into(domain: Domain, folder: Path) -> Domain:
    """The domain with its files in a generated data set."""
    moved = domain.with_options(root=folder / FOLDERS[domain.layout])
    return replace(moved, generated=folder.name)


@dataclass(frozen=True)
class _Assembly:
    """What both sides of a pair share."""

    name: str
    label_space: LabelSpace
    oracle: bool
    cache: Path | None

    def pair(self, source: Domain, target: Domain, held_out: Domain | None = None) -> Pair:
        """The pair; ``held_out`` has the source's validation images where ``source`` has none."""
        if target.validation is None:
            raise ValueError("dataset.target.validation must name the labelled images to score")
        labelled = target if self.oracle else source
        trained = labelled.images(self.label_space, labelled=True)
        unlabelled = target.images(self.label_space, labelled=False)
        scored = target.scored(self.label_space)
        _check_apart(scored, trained, target.key, labelled.key)
        source_validation = self._held_out(held_out or source, trained)
        truths = [trained, scored] + ([source_validation.truth] if source_validation else [])
        labels = _places(sample.label for truth in truths for sample in truth.samples)
        _check_no_label(trained, labels, labelled.key)
        _check_no_label(unlabelled, labels, target.key)
        return Pair(
            name=self.name,
            label_space=self.label_space,
            source=self._samples(trained, labelled.size),
            target=self._samples(unlabelled, target.size, labels=False),
            validation=self._validation(scored, target.size),
            oracle=self.oracle,
            source_validation=source_validation,
        )

    def _held_out(self, source: Domain, trained: ImageSet) -> Validation | None:
        # The upper bound needs no source on disk.
        if source.validation is None or self.oracle:
            return None
        chosen = source.scored(self.label_space)
        _check_apart(chosen, trained, source.key, source.key)
        return self._validation(chosen, source.size)

    def _validation(self, images: ImageSet, size: tuple[int, int]) -> Validation:
        return Validation(
            self._samples(images, size, labels=False), self._samples(images, None, images=False)
        )

    def _samples(
        self,
        chosen: ImageSet,
        size: tuple[int, int] | None,
        *,
        images: bool = True,
        labels: bool = True,
    ) -> ResizedImages | CachedImages:
        """The images at ``size``; the cache keeps ``images``, ``labels`` or both."""
        decoded = ResizedImages(chosen, size)
        if self.cache is None:
            return decoded
        return CachedImages(decoded, self.cache, images=images, labels=labels)


def _check_apart(scored: ImageSet, trained: ImageSet, key: str, trained_key: str) -> None:
    """No image may be scored that is trained on with its label."""
    # Whichever links lead to them.
    one, other = (
        {(file.st_dev, file.st_ino) for file in (sample.image.stat() for sample in images.samples)}
        for images in (scored, trained)
    )
    both = len(one & other)
    if both:
        raise ValueError(
            f"{trained_key} trains on {both} of the {len(scored)} labelled images that "
            f"{key}.validation scores; choose other images for one of them, such as "
            f"{trained_key}.split=train with {key}.validation=val"
        )


def _check_no_label(images: ImageSet, labels: set[tuple[str, str]], key: str) -> None:
    """No image of training may be a label file, as where its folder holds those of labels too."""
    taken = _places(sample.image for sample in images.samples) & labels
    if taken:
        some = shown("/".join(min(taken)))
        raise ValueError(
            f"{key} takes {len(taken)} label files for images, such as {some}; set {key}.images to "
            f"a folder without labels, or tell their names apart with {key}.image_name"
        )


def _places(files: Iterable[Path | None]) -> set[tuple[str, str]]:
    """The folder of each file, wherever links lead, and its name. No file is looked at."""
    real = cache(os.path.realpath)
    return {(real(folder), name) for folder, name in map(os.path.split, filter(None, files))}
