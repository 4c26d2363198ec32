"""Files that an option names: an earlier stage's or a release's centres, prototypes, networks."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from uda_hydra.errors import UserError
from uda_hydra.inputs import shown
from uda_hydra.models.checkpoints.reading import read_checkpoint

Files = str | Sequence[str]
"""The ``last.pt`` of a stage, or one file for each module: of a release, or converted from one."""


class MissingFile(FileNotFoundError):
    """A file that is not there, or not yet where an earlier stage makes it; reads as a message."""

    def __str__(self) -> str:
        return str(self.strerror)


def check_there(files: Files | None, *, key: str, null: str, marker: str | None = None) -> None:
    """Raise MissingFile, naming ``key``, unless every file is there; ``null`` says what null does.

    With ``marker`` they are folders, in which a file of this name must be.
    """
    for file in [files] if isinstance(files, str) else files or []:
        if not (Path(file) / (marker or "")).is_file():
            kind = "file" if marker is None else f"folder with {marker}"
            message = f"{key}={shown(file)}: there is no such {kind}; null {null}"
            raise MissingFile(errno.ENOENT, message, str(file))


def check_files(files: Files | None, names: Sequence[str], *, key: str) -> None:
    """Raise MissingFile or ValueError, naming ``key``, unless there are as many files as needed.

    ``names`` are those of the modules that the files are for.
    """
    if files is not None and not isinstance(files, str) and len(files) != len(names):
        order = ", ".join(names)
        raise ValueError(f"{key} must be null, one last.pt or the files [{order}], got {[*files]}")
    check_there(files, key=key, null="makes what it should hold")


@contextmanager
def named(key: str) -> Iterator[None]:
    """A UserError that names ``key`` for a file that does not suit; the loader names ``init``."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{key}={str(error).removeprefix('init=')}") from error


def read_buffers(modules: Mapping[str, nn.Module], files: Files, *, key: str) -> None:
    """Fill the modules, by their names in a method's checkpoint.

    Raises UserError, naming ``key`` and the file, for what cannot be read or does not fit.
    """
    listed = [files] * len(modules) if isinstance(files, str) else files
    for (name, module), file in zip(modules.items(), listed, strict=True):
        with named(key):
            tensors = read_checkpoint(file, take=f"{name}.").tensors
        found, needed = (
            {k: tuple(tensor.shape) for k, tensor in state.items()}
            for state in (tensors, module.state_dict())
        )
        if found != needed:
            raise UserError(
                f"{key}={shown(file)} holds {shown(found)} where {name} needs {needed}: it is of "
                f"another network, or not in the order [{', '.join(modules)}]"
            )
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise UserError(f"{key}={shown(file)} holds numbers that are not finite")
        module.load_state_dict(tensors)
