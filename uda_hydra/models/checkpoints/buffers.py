"""A module's buffers from a checkpoint of ours, such as the prototypes of an earlier stage."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from uda_hydra.inputs import InputError, shown
from uda_hydra.models.checkpoints.guard import Unsafe, check_torch_file


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
