"""Buffers from files: prototypes that an earlier stage has made, or a release."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from uda_hydra.inputs import InputError, shown
from uda_hydra.models.checkpoints.guard import Unsafe, check_torch_file
from uda_hydra.models.checkpoints.reading import read_checkpoint


def read_buffers(module: nn.Module, file: Path, name: str, *, key: str) -> None:
    """Fill ``module`` with what a method of an earlier stage has kept as ``name`` in ``last.pt``.

    ``key`` is that of the config which names the file. Raises ValueError, naming both, where the
    file is absent, damaged, or holds no such buffers of the same size.
    """
    remedy = "give the last.pt of the stage that makes them, or run that stage again"
    if not file.is_file():
        raise ValueError(f"{key}={shown(file)}: no such file; {remedy}")
    try:
        mmap = check_torch_file(file)
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)
        state = content["method"]
        own = {k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")}
        module.load_state_dict(own)
    except (InputError, Unsafe) as error:
        raise ValueError(f"{key}={shown(file)}: {error}; {remedy}") from error
    except Exception as error:
        # What torch raises depends on where the damage is: a dozen types, even AssertionError.
        raise ValueError(
            f"{key}={shown(file)} is damaged, or holds no {name} of this network's size; {remedy}"
        ) from error


def read_tables(tables: nn.ModuleDict, files: Sequence[str], *, key: str) -> None:
    """Fill each of ``tables`` from a file of its own: of a release, or converted from one.

    Raises ValueError, naming ``key`` and the file, for what cannot be read or does not fit.
    """
    order = f"[{', '.join(tables)}]"
    if len(files) != len(tables):
        raise ValueError(f"{key} must be null, one last.pt or the files {order}, got {[*files]}")
    for (name, table), file in zip(tables.items(), files, strict=True):
        try:
            tensors = read_checkpoint(file).tensors
        except ValueError as error:
            raise ValueError(f"{key}={str(error).removeprefix('init=')}") from error
        sizes = [
            {k: tuple(tensor.shape) for k, tensor in state.items()}
            for state in (tensors, table.state_dict())
        ]
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"{key}={shown(file)} holds {shown(sizes[0])} where {name} needs {sizes[1]}; give "
                f"the files of one network in the order {order}"
            )
        table.load_state_dict(tensors)
