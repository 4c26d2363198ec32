"""Opening a file of weights without running any code it may hold."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from uda_hydra.inputs import InputError, open_regular, read_bytes, shown
from uda_hydra.models.checkpoints.containers import Unwrapped, unwrap
from uda_hydra.models.checkpoints.guard import LARGEST_FILE, Unsafe, check_torch_file
from uda_hydra.models.checkpoints.layouts import OURS
from uda_hydra.models.checkpoints.names import rename
from uda_hydra.models.checkpoints.recognition import Recognised, identify
from uda_hydra.models.checkpoints.weight_layout import WeightLayout

LARGEST_ARRAY = 100_000_000
"""Bytes of an array that is read: a thousand centres of as many channels as any network has."""
NAMES = "uda_hydra.names"
"""Key of the metadata of our safetensors files: the names in the order of the state dict."""


class Checkpoint(NamedTuple):
    """The content of a weight file, under our names."""

    file: str
    layout: WeightLayout
    container: str
    tensors: dict[str, Tensor]
    """The tensors that have a name of ours, by that name."""
    unused: dict[str, Tensor]
    """The other tensors, by the file's own names."""
    ignored_keys: tuple[str, ...]
    """Keys of the file that hold something other than weights."""


def read_checkpoint(
    file: str | Path,
    known: Callable[[Mapping[str, Tensor]], WeightLayout | None] | None = None,
    *,
    take: str = OURS.take,
) -> Checkpoint:
    """Open ``file``, recognise its layout, and give its tensors our names.

    Its content shows whether it is a torch, a safetensors or a numpy file; ``known`` gives the
    layout of files that only the network itself knows; ``take`` is the prefix of what is wanted of
    a method's checkpoint. Raises ValueError, naming file and remedy, for what cannot be read or
    recognised.
    """
    path = Path(file)
    if not path.exists():
        raise ValueError(f"init={shown(file)}: no such file")
    try:
        found = _read(path, take)
    except InputError as error:
        raise _unusable(path, error.reason) from error
    except Unsafe as error:
        raise _unusable(path, str(error)) from error
    _check_tensors(path, found.tensors)
    own = known(found.tensors) if known and found.container != "uda_hydra" else None
    layout, tensors = (
        Recognised(own, found.tensors)
        if own
        else identify(found.tensors, shown(file), container=found.container)
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


def _read(path: Path, take: str) -> Unwrapped:
    with open_regular(path, largest=LARGEST_FILE) as file:
        start = file.read(9)
    if start.startswith(np.lib.format.MAGIC_PREFIX):
        return _read_array(path)
    # A safetensors file begins with the length of its header, 8 bytes, and an opening brace.
    return _read_safetensors(path) if start[8:] == b"{" else _read_torch(path, take)


def _read_array(path: Path) -> Unwrapped:
    """The one array of a file written by ``np.save``: class centres of CFContra's release."""
    content = read_bytes(path, largest=LARGEST_ARRAY)
    try:
        array = torch.from_numpy(np.load(io.BytesIO(content), allow_pickle=False))
    except Exception as error:
        # What numpy and torch raise depends on where the damage is.
        raise _damaged(path, error) from error
    return Unwrapped({"centres": array}, "cfcontra_centres", ())


def _read_torch(path: Path, take: str) -> Unwrapped:
    """The tensors of a file written by any ``torch.save``."""
    # ProDA and MaxSquare store a numpy number with the weights; numpy 2 moved what makes it.
    scalar = np.float64(0).__reduce__()[0]
    dtypes = [type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int64)]
    allowed = [
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        np.dtype,
        *dtypes,
    ]
    try:
        # Files from before torch 1.6 are not zip archives and cannot be mapped into memory.
        mmap = check_torch_file(path)
        with torch.serialization.safe_globals(allowed):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except (InputError, Unsafe):
        raise
    except Exception as error:
        # What torch raises depends on where the damage is: a dozen types, even AssertionError.
        raise _damaged(path, error) from error
    return unwrap(content, shown(path), take=take)


def _read_safetensors(path: Path) -> Unwrapped:
    try:
        with safe_open(path, framework="pt") as file:
            metadata, names = file.metadata() or {}, [*file.keys()]
            if NAMES in metadata:
                ordered = json.loads(metadata[NAMES])
                if not isinstance(ordered, list) or {*map(str, ordered)} != {*names}:
                    raise Unsafe(f"names other tensors in its {NAMES} than it holds")
                names = ordered
            tensors = {name: file.get_tensor(name) for name in names}
    except Unsafe:
        raise
    except Exception as error:
        raise _damaged(path, error) from error
    return Unwrapped(tensors, "uda_hydra" if NAMES in metadata else "flat", ())


def _check_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Plain numbers that lie in the file: a view can claim any size, and so can a new tensor."""
    if not tensors:
        raise _unusable(path, "holds no tensors")
    held: dict[int, int] = {}
    for name, tensor in tensors.items():
        plain = tensor.layout is torch.strided and tensor.device.type == "cpu"
        if not plain or tensor.is_quantized or tensor.is_complex():
            raise _unusable(path, f"holds {shown(name)}, which is not a plain tensor of numbers")
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        if tensor.nbytes > storage.nbytes():
            raise _unusable(path, f"claims more values for {shown(name)} than it holds")
    if sum(held.values()) > path.stat().st_size:
        raise _unusable(path, "claims more values than it holds")


def _damaged(path: Path, error: Exception) -> ValueError:
    kind = type(error).__name__
    return _unusable(
        path,
        f"cannot be read as weights ({kind}); it is truncated, altered, not a torch, safetensors "
        "or numpy file, or holds more than tensors and numbers",
    )


def _unusable(path: Path, reason: str) -> ValueError:
    return ValueError(f"init={shown(path)}: {reason}; download or write it again")
