"""Class centres from files: those of a stage, or a release's two arrays."""

from __future__ import annotations

import errno
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from uda_hydra.inputs import read_bytes, shown
from uda_hydra.models.checkpoints.guard import check_torch_file

KEYS = ("source_memory.centres", "target_memory.centres")
"""Buffers of a method that keeps a memory of either domain."""

LARGEST_ARRAY = 100_000_000
"""Bytes of an array that is read: a thousand centres of as many channels as any network has."""

Files = str | Sequence[str] | None
"""A checkpoint of ours, or two .npy files: source, target."""


class MissingCentres(FileNotFoundError):
    """A file that is not there, or not yet where an earlier stage makes it; reads as a message."""

    def __str__(self) -> str:
        return str(self.strerror)


def check_centres_file(files: Files) -> None:
    """Raise MissingCentres or ValueError, naming ``method.centres``, for what cannot be read."""
    for path in _paths(files):
        if not path.is_file():
            raise MissingCentres(
                errno.ENOENT,
                f"method.centres={shown(path)}: there is no such file; null measures centres",
                str(path),
            )


def read_centres(files: str | Sequence[str], shape: tuple[int, int]) -> list[Float[Tensor, "c d"]]:
    """The centres of source and target, ``shape`` being classes and channels.

    Raises ValueError, naming ``method.centres``, for files that are damaged or do not fit.
    """
    paths = _paths(files)
    try:
        found = _of_stage(paths[0]) if len(paths) == 1 else [_array(path) for path in paths]
    except Exception as error:
        # What torch raises depends on where the damage is.
        raise ValueError(
            f"method.centres={shown(files)} holds no class centres ({type(error).__name__}): it is "
            "damaged or of another kind. Give the last.pt of a stage method=cfcontra/centres, "
            "or two .npy files [SOURCE, TARGET]; null measures centres"
        ) from error
    for centres in found:
        if tuple(centres.shape) != shape:
            raise ValueError(
                f"method.centres={shown(files)} has centres of shape {tuple(centres.shape)}, and "
                f"the network needs {shape} (classes, channels): they come from another network"
            )
        if not centres.isfinite().all():
            raise ValueError(f"method.centres={shown(files)} holds numbers that are not finite")
    return found


def _of_stage(path: Path) -> list[Tensor]:
    mmap = check_torch_file(path)
    state = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    return [state["method"][key].float().clone() for key in KEYS]


def _array(path: Path) -> Tensor:
    content = read_bytes(path, largest=LARGEST_ARRAY)
    return torch.from_numpy(np.load(io.BytesIO(content), allow_pickle=False)).float()


def _paths(files: Files) -> list[Path]:
    if files is None:
        return []
    paths = [Path(files)] if isinstance(files, str) else [Path(file) for file in files]
    if len(paths) not in (1, 2):
        raise ValueError(f"method.centres must be null, one file or two, got {files}")
    return paths
