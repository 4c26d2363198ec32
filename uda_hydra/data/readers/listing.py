"""Which files make up a set: folders, list files, and the partners that are missing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from uda_hydra.data.pictures import ENDINGS
from uda_hydra.data.readers.image_set import Sample
from uda_hydra.inputs import InputError, read_text, shown

IMAGES = ENDINGS
LABELS = ("png",)
"""Endings of labels: a JPEG would change their values."""

_SHOWN = 5
_T = TypeVar("_T")


def ending(endings: tuple[str, ...]) -> str:
    """Regular expression for one of the endings of a file's name, in either case."""
    return rf"\.(?i:{'|'.join(endings)})"


def choices(endings: tuple[str, ...]) -> str:
    """The endings of a file's name for a person."""
    return f".{', .'.join(endings[:-1])} or .{endings[-1]}"


def listed_once(name: str, files: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """Key to file; ValueError where two files of the data set ``name`` have the same key."""
    found: dict[str, Path] = {}
    for key, path in files:
        if key in found:
            raise ValueError(
                f"{name} has two files for {shown(key)}: {shown(found[key])} and {shown(path)}; "
                "remove one of them"
            )
        found[key] = path
    return found


def files_named(
    name: str, folders: Iterable[Path], stem: str, endings: tuple[str, ...]
) -> dict[str, Path]:
    """Key to file of those in ``folders`` that are named ``stem`` with one of the endings.

    ``stem`` is a regular expression whose group is the key. ValueError where two files of the data
    set ``name`` have the same key.
    """
    pattern = re.compile(stem + ending(endings))
    found = ((pattern.fullmatch(path.name), path) for one in folders for path in one.iterdir())
    return listed_once(name, ((match[1], path) for match, path in found if match))


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
        if not re.fullmatch("[0-9]{1,20}", number):
            raise ValueError(f"{line!r} names no image of {name} such as {1:0{digits}}.png")
        return number.zfill(digits)

    return pair(
        name,
        chosen(files_named(name, [images], "([0-9]+)", IMAGES)),
        chosen(files_named(name, [labels], "([0-9]+)", LABELS)) if labels else None,
        chosen(read_list(list_file, key)) if list_file else None,
        looked_for=f"<{digits} digits>{choices(IMAGES)}; labels <{digits} digits>.png",
        folders=(images, labels),
    )


def read_list(file: Path, key: Callable[[str], str]) -> dict[str, str]:
    """Key to line of a list file that names one image a line; ``key`` understands a line.

    A text in UTF-8, with line endings of any system; spaces around a line, empty lines and those
    that begin with # mean nothing. ValueError names file and line of what cannot be used.
    """
    if not file.exists():
        raise FileNotFoundError(f"list_file: no file {shown(file)}")
    try:
        text = read_text(file)
    except InputError as error:
        raise ValueError(f"list_file: {error}; save it as plain text in UTF-8") from error
    listed: dict[str, str] = {}
    # Not splitlines(), to which some characters of file names are ends of lines.
    for number, line in enumerate(re.split("\r\n|\r|\n", text), 1):
        name = line.strip()
        if not name or name.startswith("#"):
            continue
        try:
            known = key(name)
        except ValueError as error:
            raise ValueError(f"list_file: {shown(file)}, line {number}: {error}") from error
        if known in listed:
            raise ValueError(
                f"list_file: {shown(file)}, line {number} names {shown(known)} again; "
                "each image may be listed once"
            )
        listed[known] = name
    return listed


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
    folders: tuple[Path, Path | None] | None = None,
) -> list[Sample]:
    """Samples sorted by key; everything that is missing is reported in one error.

    ``labels`` is None where no label may be opened; ``listed`` holds the keys of a list file,
    which narrows the images down, or None. ``looked_for`` describes the names of the files,
    ``folders`` are where images and labels were looked for.
    """
    wanted = images.keys() if listed is None else listed.keys() & images.keys()
    if images and labels is not None and not labels:
        raise FileNotFoundError(
            f"{name} has no label{_seen(folders and folders[1])}. Looked for: {looked_for}. "
            "Put the label files of these names there"
        )
    missing: dict[str, Iterable[str]] = {}
    if listed is not None:
        missing["listed and not on disk"] = [listed[key] for key in listed.keys() - images.keys()]
    if labels is not None:
        missing["images without a label"] = [str(images[key]) for key in wanted - labels.keys()]
    if labels is not None and listed is None:
        # An image lost in the download leaves its label behind. A list file may choose freely.
        missing["labels without an image"] = [str(labels[key]) for key in labels.keys() - wanted]
    if images and any(missing.values()):
        raise FileNotFoundError(f"{name} is incomplete: {_summary(missing, looked_for)}")
    if not wanted:
        raise FileNotFoundError(
            f"{name} has no image{_seen(folders and folders[0])}. Looked for: {looked_for}. "
            "Another split or list_file may have"
        )
    return [
        Sample(key, images[key], None if labels is None else labels[key]) for key in sorted(wanted)
    ]


def _seen(folder: Path | None) -> str:
    """A folder, and a file in it whose name can be compared with those that are looked for."""
    if folder is None:
        return ""
    names = (path.name for path in folder.rglob("*") if path.is_file())
    example = next((name for name in names if not name.startswith(".")), None)
    holds = "is empty" if example is None else f"holds files such as {shown(example)}"
    return f" ({shown(folder)} {holds})"


def _summary(missing: dict[str, Iterable[str]], looked_for: str) -> str:
    parts = []
    for what, names in missing.items():
        some = sorted(names)
        if some:
            more = ", ..." if len(some) > _SHOWN else ""
            parts.append(f"{len(some)} {what}: {', '.join(map(shown, some[:_SHOWN]))}{more}")
    remedy = (
        "Complete the files, or name the images to use in a list_file "
        "(of those that are scored, validation: {list_file: FILE, ...})"
    )
    return f"{'; '.join(parts)}. Looked for: {looked_for}. {remedy}."
