"""Buffers from files: centres or prototypes that an earlier stage has made, or a release."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
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


def check_files(files: Files | None, names: Sequence[str], *, key: str) -> None:
    """Raise MissingFile or ValueError, naming ``key``, unless there are as many files as needed.

    ``names`` are those of the modules that the files are for.
    """
    if files is None:
        return
    if not isinstance(files, str) and len(files) != len(names):
        order = ", ".join(names)
        raise ValueError(f"{key} must be null, one last.pt or the files [{order}], got {[*files]}")
    for file in [files] if isinstance(files, str) else files:
        if not Path(file).is_file():
            message = f"{key}={shown(file)}: there is no such file; null makes what it should hold"
            raise MissingFile(errno.ENOENT, message, str(file))


def read_buffers(modules: Mapping[str, nn.Module], files: Files, *, key: str) -> None:
    """Fill the modules, by their names in a method's checkpoint.

    Raises UserError, naming ``key`` and the file, for what cannot be read or does not fit.
    """
    listed = [files] * len(modules) if isinstance(files, str) else files
    for (name, module), file in zip(modules.items(), listed, strict=True):
        try:
            tensors = read_checkpoint(file, take=f"{name}.").tensors
        except ValueError as error:
            raise UserError(f"{key}={str(error).removeprefix('init=')}") from error
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
