"""Which files make up a set: folders, list files, and the partners that are missing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from uda_hydra.data.readers.image_set import Sample

IMAGES = ("png", "jpg", "jpeg")
"""Endings of images; upper case counts too."""
LABELS = ("png",)
"""Endings of labels: a JPEG would change their values."""

_SHOWN = 5
_T = TypeVar("_T")


def ending(endings: tuple[str, ...]) -> str:
    """Regular expression for one of the endings of a file's name, in either case."""
    return rf"\.(?i:{'|'.join(endings)})"


def listed_once(name: str, files: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """Key to file; ValueError where two files of the data set ``name`` have the same key."""
    found: dict[str, Path] = {}
    for key, path in files:
        if key in found:
            raise ValueError(
                f"{name} has two files for {key}: {found[key]} and {path}; remove one of them"
            )
        found[key] = path
    return found


def numbered_samples(
    name: str,
    images: Path,
    labels: Path | None,
    list_file: Path | None,
    *,
    digits: int,
    belongs: Callable[[int], bool],
) -> list[Sample]:
    """Samples of folders of ``<number>.png``; ``belongs`` is true of those of the split."""

    def chosen(files: dict[str, _T]) -> dict[str, _T]:
        return {key: value for key, value in files.items() if belongs(int(key))}

    def key(line: str) -> str:
        number = re.sub(f"{ending(IMAGES)}$", "", Path(line).name)
        if not number.isdecimal():
            raise ValueError(
                f"{list_file}: {line!r} names no image of {name} such as {1:0{digits}}.png"
            )
        return number.zfill(digits)

    return pair(
        name,
        chosen(_numbered(name, images, IMAGES)),
        chosen(_numbered(name, labels, LABELS)) if labels else None,
        chosen(read_list(list_file, key)) if list_file else None,
        looked_for=f"<{digits} digits>.png, .jpg or .jpeg; labels <{digits} digits>.png",
    )


def _numbered(name: str, folder: Path, endings: tuple[str, ...]) -> dict[str, Path]:
    pattern = re.compile(rf"(\d+){ending(endings)}")
    found = ((pattern.fullmatch(path.name), path) for path in folder.iterdir())
    return listed_once(name, ((match[1], path) for match, path in found if match))


def read_list(file: Path, key: Callable[[str], str]) -> dict[str, str]:
    """Key to line of a list file that names one image a line; ``key`` understands a line."""
    if not file.is_file():
        raise FileNotFoundError(f"list_file: no file {file}")
    lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    return {key(line): line for line in lines if line}


def with_part(
    name: str,
    samples: list[Sample],
    place: int,
    wanted: list[str] | None,
    *,
    known: tuple[str, ...],
    key: str,
) -> list[Sample]:
    """The samples whose key has one of ``wanted`` at ``place`` between its underscores.

    None takes all. ValueError names ``key`` for a part that is not ``known``, and where no sample
    of the data set ``name`` is left.
    """
    if wanted is None:
        return samples
    for part in wanted:
        if part not in known:
            raise ValueError(f"{key} may be {', '.join(known)}, not {part!r}")
    left = [sample for sample in samples if sample.key.split("_")[place] in wanted]
    if not left:
        raise ValueError(f"{name} has no image left by {key}=[{', '.join(wanted)}]")
    return left


def pair(
    name: str,
    images: dict[str, Path],
    labels: dict[str, Path] | None,
    listed: dict[str, str] | None,
    *,
    looked_for: str,
) -> list[Sample]:
    """Samples sorted by key; everything that is missing is reported in one error.

    ``labels`` is None where no label may be opened; ``listed`` holds the keys of a list file,
    which narrows the images down, or None. ``looked_for`` describes the names of the files.
    """
    wanted = images.keys() if listed is None else listed.keys() & images.keys()
    missing: dict[str, Iterable[str]] = {}
    if listed is not None:
        missing["listed and not on disk"] = [listed[key] for key in listed.keys() - images.keys()]
    if labels is not None:
        missing["images without a label"] = [str(images[key]) for key in wanted - labels.keys()]
    if labels is not None and listed is None:
        # An image lost in the download leaves its label behind. A list file may choose freely.
        missing["labels without an image"] = [str(labels[key]) for key in labels.keys() - wanted]
    if any(missing.values()):
        raise FileNotFoundError(f"{name} is incomplete: {_summary(missing, looked_for)}")
    if not wanted:
        raise FileNotFoundError(
            f"{name} has no image. Looked for: {looked_for}. Another split or list_file may have"
        )
    return [
        Sample(key, images[key], None if labels is None else labels[key]) for key in sorted(wanted)
    ]


def _summary(missing: dict[str, Iterable[str]], looked_for: str) -> str:
    parts = []
    for what, names in missing.items():
        shown = sorted(names)
        if shown:
            more = ", ..." if len(shown) > _SHOWN else ""
            parts.append(f"{len(shown)} {what}: {', '.join(shown[:_SHOWN])}{more}")
    remedy = (
        "Complete the files, or name the images to use in a list_file "
        "(of those that are scored, validation: {list_file: FILE, ...})"
    )
    return f"{'; '.join(parts)}. Looked for: {looked_for}. {remedy}."
