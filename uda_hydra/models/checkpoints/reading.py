"""Opening a file of weights without running any code it may hold."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from uda_hydra.models.checkpoints.containers import Unwrapped, unwrap
from uda_hydra.models.checkpoints.layouts import Layout
from uda_hydra.models.checkpoints.names import rename
from uda_hydra.models.checkpoints.recognition import Recognised, identify

NAMES = "uda_hydra.names"
"""Key of the metadata of our safetensors files: the names in the order of the state dict."""


class Checkpoint(NamedTuple):
    """The content of a weight file, under our names."""

    file: str
    layout: Layout
    container: str
    tensors: dict[str, Tensor]
    """The tensors that have a name of ours, by that name."""
    unused: dict[str, Tensor]
    """The other tensors, by the file's own names."""
    ignored_keys: tuple[str, ...]
    """Keys of the file that hold something other than weights."""


def read_checkpoint(
    file: str | Path, known: Callable[[Mapping[str, Tensor]], Layout | None] | None = None
) -> Checkpoint:
    """Open ``file``, recognise its layout, and give its tensors our names.

    ``known`` tells the layout of files that only the network itself knows. Raises ValueError,
    naming file and remedy, for what cannot be read or recognised.
    """
    path = Path(file)
    if not path.is_file():
        raise ValueError(f"init={file}: no such file")
    safetensors = path.suffix == ".safetensors"
    found = _read_safetensors(path) if safetensors else unwrap(_read_torch(path), str(file))
    own = known(found.tensors) if known and found.container != "uda_hydra" else None
    layout, tensors = (
        Recognised(own, found.tensors)
        if own
        else identify(found.tensors, str(file), container=found.container)
    )
    ours = rename(tensors, layout)
    return Checkpoint(
        file=str(file),
        layout=layout,
        container=found.container,
        tensors={ours[name]: tensor for name, tensor in tensors.items() if ours[name] is not None},
        unused={name: tensor for name, tensor in tensors.items() if ours[name] is None},
        ignored_keys=found.ignored_keys,
    )


def _read_torch(path: Path) -> object:
    """The content of a file written by any ``torch.save``."""
    # ProDA and MaxSquare store a numpy number with the weights; numpy 2 moved what makes it.
    scalar = np.float64(0).__reduce__()[0]
    dtypes = [type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int64)]
    allowed = [
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        np.dtype,
        *dtypes,
    ]
    # Files from before torch 1.6 are not zip archives and cannot be mapped into memory.
    mmap = zipfile.is_zipfile(path)
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:
        # What torch raises depends on where the damage is: a dozen types, even AssertionError.
        raise _unreadable(path, error) from error


def _read_safetensors(path: Path) -> Unwrapped:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = json.loads(metadata[NAMES]) if NAMES in metadata else [*file.keys()]
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    return Unwrapped(tensors, "uda_hydra" if NAMES in metadata else "flat", ())


def _unreadable(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"init={path}: cannot be read as weights ({type(error).__name__}); it is truncated, not a "
        "torch or safetensors file, or holds more than tensors and numbers; download or write "
        "it again"
    )
