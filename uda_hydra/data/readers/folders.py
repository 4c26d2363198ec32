"""Anybody's own data: a folder of images and a folder of labels, paired by their names."""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path

from uda_hydra.data.class_file import DOMAINS, LARGEST_ID
from uda_hydra.data.label_space import LabelSpace
from uda_hydra.data.readers import listing
from uda_hydra.data.readers.decode import read_colour_label, read_index_label
from uda_hydra.data.readers.image_set import ImageSet, Layout
from uda_hydra.data.readers.listing import IMAGES, LABELS
from uda_hydra.data.walk import files_below, is_hidden


def folders(
    *,
    label_space: LabelSpace,
    labelled: bool,
    images: Path,
    labels: Path | None = None,
    values: str = "source",
    image_name: str = "{}",
    label_name: str = "{}",
    list_file: Path | None = None,
) -> ImageSet:
    """All images below ``images``, each with the label of the same path below ``labels``.

    ``values`` is source or target: which list of the class file gives the values of the labels.
    Names may differ by what stands around ``{}`` in ``image_name`` ("{}_leftImg8bit") and
    ``label_name``; an ending in them admits this ending alone. ``list_file`` names the images to
    use, one a line.
    """
    if values not in DOMAINS:
        raise ValueError(f"values of layout=folders must be source or target, got {values!r}")
    images, labels = images.absolute(), labels and labels.absolute()
    name = f"the data set {_folder(images, 'images')}"
    image_pattern = _pattern("image_name", image_name, IMAGES)
    found = _files(name, images, image_pattern)
    if labels and list_file is None:
        _check_apart(images, labels, found)
    partners = None
    if labelled:
        if labels is None:
            raise ValueError(f"{name} needs labels: set labels=FOLDER with images={images}")
        label_pattern = _pattern("label_name", label_name, LABELS)
        partners = _files(name, _folder(labels, "labels"), label_pattern)
    listed = None
    if list_file is not None:
        listed = listing.read_list(list_file, lambda line: _list_key(line, images, image_pattern))
    samples = listing.pair(
        name,
        found,
        partners,
        listed,
        looked_for=f"{image_name} ({listing.choices(IMAGES)}), labels {label_name} (.png), as "
        "image_name and label_name say",
        folders=(images, labels),
    )
    root = Path(os.path.commonpath([images, labels or images]))
    return ImageSet(_layout(label_space, values), root, samples, label_space)


def _layout(label_space: LabelSpace, domain: str) -> Layout:
    """The values that the class file lists; without any, labels hold class numbers."""
    numbers = {name: (number,) for number, name in enumerate(label_space.names)}
    listed = label_space.listed.get(domain, numbers)
    ids = {name: tuple(map(_number, values)) for name, values in listed.items()}
    known = {raw for values in ids.values() for raw in values}
    known |= {_number(value) for value in label_space.ignored.get(domain, ())}
    if any(isinstance(value, str) for values in listed.values() for value in values):
        read, largest, show = read_colour_label, 2**24 - 1, "#{:06x}".format
    else:
        read, largest, show = partial(read_index_label, largest=LARGEST_ID), LARGEST_ID, str
    return Layout(
        "folders",
        ids,
        known,
        read_label=read,
        values=largest + 1,
        show=show,
        published=False,
    )


def _number(value: int | str) -> int:
    return value if isinstance(value, int) else int(value.removeprefix("#"), 16)


def _folder(path: Path, key: str) -> Path:
    if path.is_dir():
        return path
    raise FileNotFoundError(f"{path} is not a folder; set {key} to one")


def _check_apart(images: Path, labels: Path, found: dict[str, Path]) -> None:
    """No file of ``labels`` may be among the images."""
    if images in labels.parents and any(labels in path.parents for path in found.values()):
        raise ValueError(
            f"labels={labels} lies in images={images}, all of whose files count as images; set "
            "images to a folder without labels, or tell their names apart with image_name"
        )


def _pattern(key: str, template: str, endings: tuple[str, ...]) -> re.Pattern[str]:
    """Matches names of files and captures what stands at ``{}``."""
    before, between, after = template.partition("{}")
    if not between or "{}" in after or "/" in template:
        raise ValueError(
            f"{key} must be a file name with one {{}} for what differs, got {template!r}"
        )
    last = "" if re.search(f"{listing.ending(endings)}$", after) else listing.ending(endings)
    return re.compile(rf"{re.escape(before)}(.+){re.escape(after)}{last}")


def _files(name: str, folder: Path, pattern: re.Pattern[str]) -> dict[str, Path]:
    """Key to file, of all below ``folder`` that match and are not hidden."""
    shown = (path for path in files_below(folder) if not is_hidden(path, folder))
    found = ((_key(path.relative_to(folder), pattern), path) for path in shown)
    return listing.listed_once(name, ((key, path) for key, path in found if key is not None))


def _list_key(line: str, images: Path, pattern: re.Pattern[str]) -> str:
    """``line`` may be a path below ``images``, absolute or not, with or without the ending."""
    path = Path(os.path.normpath(line))
    if path.is_absolute() and path.is_relative_to(images):
        path = path.relative_to(images)
    names = [path, *(path.with_name(f"{path.name}.{ending}") for ending in IMAGES)]
    return next((key for name in names if (key := _key(name, pattern))), path.as_posix())


def _key(path: Path, pattern: re.Pattern[str]) -> str | None:
    """The path without what the pattern adds to its name; None where it does not match."""
    match = pattern.fullmatch(path.name)
    return path.with_name(match[1]).as_posix() if match else None
