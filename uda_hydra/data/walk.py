"""Which files lie below a folder, through links to other folders too."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path


def files_below(folder: Path, *, leaving_out: Collection[Path] = ()) -> Iterator[Path]:
    """Everything below ``folder`` that is no folder, sorted within each.

    A link that leads back to a folder on the way is not followed. ``leaving_out`` are folders whose
    content does not count, as resolved paths.
    """
    yield from _files(folder, (), leaving_out)


def is_hidden(path: Path, folder: Path) -> bool:
    """Whether a name on the way from ``folder`` to ``path`` begins with a dot."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _files(folder: Path, above: tuple[Path, ...], leaving_out: Collection[Path]) -> Iterator[Path]:
    real = folder.resolve()
    if real in above or real in leaving_out:
        return
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        path = folder / entry.name
        if _is_folder(entry):
            yield from _files(path, (*above, real), leaving_out)
        else:
            yield path


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or leads to one; a link to itself does not."""
    try:
        return entry.is_dir()
    except OSError:
        return False
