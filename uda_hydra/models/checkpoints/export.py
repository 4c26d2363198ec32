"""Writing weights: in our layout, or in an official one so that official code can read them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from uda_hydra.models.checkpoints.containers import wrap
from uda_hydra.models.checkpoints.layouts import BY_NAME, LAYOUTS, OURS
from uda_hydra.models.checkpoints.names import abbreviate, fit, order, rename_back
from uda_hydra.models.checkpoints.reading import NAMES, Checkpoint
from uda_hydra.models.checkpoints.weight_layout import WeightLayout

UNUSED = "unused."
"""Prefix, in our files, of the tensors that only the official code uses."""


def ours(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """All tensors of ``checkpoint`` under our names; ``official`` inverts it exactly."""
    kept = {UNUSED + n.removeprefix(UNUSED): tensor for n, tensor in checkpoint.unused.items()}
    return checkpoint.tensors | kept


def official(checkpoint: Checkpoint, layout: WeightLayout) -> dict[str, Tensor]:
    """The tensors of ``checkpoint`` under the names of ``layout``, in the order of its state dict.

    Raises ValueError if the layout has no name for one of them, or requires more tensors.
    """
    theirs = rename_back(checkpoint.tensors, layout)
    unmapped = [name for name, their in theirs.items() if their is None]
    found = {their: checkpoint.tensors[name] for name, their in theirs.items() if their}
    for name, tensor in checkpoint.unused.items():
        their = name.removeprefix(UNUSED)
        if not fit([their], layout).unknown:
            found[their] = tensor
    lacking = fit(found, layout).lacking
    if unmapped or lacking:
        problem = f"has no name for {abbreviate(unmapped)}"
        if not unmapped:
            problem = f"also needs {abbreviate(lacking)}"
        raise ValueError(
            f"layout={layout.name} ({layout.title}) {problem}; layouts that fit "
            f"{checkpoint.file} are: {abbreviate(_fitting(checkpoint), most=9)}"
        )
    return {name: found[name] for name in order(found, layout)}


def find_layout(name: str) -> WeightLayout:
    """The layout that ``layout=`` names; "/flat" after it leaves out its container."""
    base, _, flat = name.partition("/")
    if base not in BY_NAME or base == OURS.name or flat not in ("", "flat"):
        known = ", ".join(layout.name for layout in LAYOUTS if layout is not OURS)
        raise ValueError(
            f"layout={name} is not an official layout; choose one of these, with or without /flat: "
            f"{known}"
        )
    return BY_NAME[base]._replace(container="flat") if flat else BY_NAME[base]


def write_ours(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write a safetensors file that remembers the order of its names."""
    metadata = {"format": "pt", NAMES: json.dumps([*tensors])}
    # By default safetensors makes the file readable by its owner only.
    path.touch()
    mode = path.stat().st_mode
    save_file({name: t.contiguous() for name, t in tensors.items()}, path, metadata=metadata)
    path.chmod(mode)


def write_official(path: Path, tensors: dict[str, Tensor], layout: WeightLayout) -> None:
    """Write a file as official code reads it, with ``np.load`` or any version's ``torch.load``."""
    with path.open("wb") as file:
        if layout.container == "cfcontra_centres":
            np.save(file, tensors["centres"].numpy())
            return
        torch.save(wrap(tensors, layout.container), file, _use_new_zipfile_serialization=False)


def _fitting(checkpoint: Checkpoint) -> list[str]:
    """Names of the official layouts that the tensors can be written in."""
    fitting = []
    for layout in LAYOUTS:
        names = rename_back(checkpoint.tensors, layout).values()
        whole = None not in names and not fit([n for n in names if n], layout).lacking
        if layout is not OURS and whole:
            fitting.append(layout.name)
    return fitting
