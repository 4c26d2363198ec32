"""Filling a network from a file, all or nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from uda_hydra.models.checkpoints.branches import branch_warnings
from uda_hydra.models.checkpoints.names import few
from uda_hydra.models.checkpoints.parts import HEADS
from uda_hydra.models.checkpoints.reading import Checkpoint, read_checkpoint

WINDOW = 32 << 20
"""Bytes that are copied from one mapping of a file."""
COUNTER = "num_batches_tracked"
CLASSIFIER = re.compile(r"(main|aux)_head\.(branches\.\d+|classifier)\.(weight|bias)")
"""Names of ours whose first dimension is the number of classes."""


class LoadReport(NamedTuple):
    """What became of a file's tensors; print it."""

    file: str
    layout: str
    """Name of the layout that was recognised."""
    title: str
    """Whose layout that is, and how it was wrapped."""
    loaded: tuple[str, ...]
    """Names in the network."""
    dropped: tuple[str, ...]
    """Names in the file that the network has no use for; ours where the layout gives one."""
    missing: tuple[str, ...]
    """Names in the network that keep their values."""
    beside: tuple[str, ...]
    """What else the file holds."""
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(
            [
                f"{self.file}: {self.layout} ({self.title}), {len(self.loaded)} tensors loaded",
                *_listed("dropped from the file", self.dropped),
                *_listed("not in the file, kept as initialised", self.missing),
                *_listed("not looked at", self.beside),
                *(f"  warning: {warning}" for warning in self.warnings),
            ]
        )


def load_weights(network: nn.Module, file: str | Path, *, drop_heads: bool = False) -> LoadReport:
    """Fill ``network`` from ``file``; nothing changes if anything does not fit.

    ``drop_heads`` takes the backbone only. Old files lack ``num_batches_tracked``: it becomes 0.
    Raises ValueError, naming file and remedy, for what cannot be read, recognised or fitted.
    """
    checkpoint = read_checkpoint(file)
    report = _compare(network, checkpoint, drop_heads=drop_heads)
    state = network.state_dict()
    rest = list(report.loaded)
    with torch.no_grad():
        for name in set(state) - set(report.loaded) - set(report.missing):
            state[name].zero_()
        while rest:
            here, rest = _window(rest, state) if checkpoint.mapped else (rest, [])
            for name in here:
                state[name].copy_(checkpoint.tensors[name])
            if rest:
                # What was read from a mapping stays in memory as long as the mapping: a single
                # one would hold all the weights a second time.
                checkpoint = read_checkpoint(file)
    return report


def _window(names: list[str], state: dict[str, Tensor]) -> tuple[list[str], list[str]]:
    """The first ``names``, at least one and about ``WINDOW`` bytes of them, and the others."""
    size = 0
    for count, name in enumerate(names, 1):
        size += state[name].nbytes
        if size >= WINDOW:
            return names[:count], names[count:]
    return names, []


def _compare(network: nn.Module, checkpoint: Checkpoint, *, drop_heads: bool) -> LoadReport:
    """What loading will do; raises if it must not be done."""
    state, layout = network.state_dict(), checkpoint.layout
    wanted = {name for name in state if name.startswith("backbone.") or not drop_heads}
    loaded = [name for name in checkpoint.tensors if name in wanted]
    dropped = [name for name in checkpoint.tensors if name not in wanted]
    absent = state.keys() - set(loaded)
    missing = [name for name in state if name in absent and not name.endswith(COUNTER)]
    where = f"init={checkpoint.file} ({layout.name}: {layout.title})"
    if not loaded:
        raise ValueError(
            f"{where}: none of its tensors has a place in the model, {few(dropped)}; "
            "choose a file with the weights of a segmentation network"
        )
    for name in loaded:
        _check_shape(name, checkpoint.tensors[name], state[name], where)
    _check_missing(missing, HEADS if drop_heads else layout.leaves, where)
    wrapped = (
        "" if checkpoint.container == layout.container else f", wrapped as {checkpoint.container}"
    )
    return LoadReport(
        file=checkpoint.file,
        layout=layout.name,
        title=f"{layout.title}{wrapped}",
        loaded=tuple(loaded),
        dropped=tuple(n for n in (*dropped, *checkpoint.unused) if not n.endswith(COUNTER)),
        missing=tuple(missing),
        beside=checkpoint.beside,
        warnings=branch_warnings(network, checkpoint.tensors, layout),
    )


def _check_shape(name: str, theirs: Tensor, ours: Tensor, where: str) -> None:
    if theirs.shape == ours.shape:
        return
    if CLASSIFIER.fullmatch(name) and theirs.shape[1:] == ours.shape[1:]:
        raise ValueError(
            f"{where}: its heads have {len(theirs)} classes and the model has {len(ours)}; choose "
            "the data set with as many classes"
        )
    raise ValueError(
        f"{where}: {name} has shape {tuple(theirs.shape)} and the model wants "
        f"{tuple(ours.shape)}; choose the model this file was made for"
    )


def _check_missing(missing: list[str], leaves: tuple[str, ...], where: str) -> None:
    """Raise if something stays as initialised that such a file should have brought."""
    lacking = [name for name in missing if not name.startswith(leaves)]
    if lacking:
        only_aux = all(name.startswith("aux_head.") for name in lacking)
        remedy = "set model.multi_level=false" if only_aux else "choose the model it was made for"
        raise ValueError(f"{where}: lacks {len(lacking)} tensors, {few(lacking)}; {remedy}")


def _listed(title: str, names: tuple[str, ...]) -> list[str]:
    return [f"  {title}: {few(names, most=6)}"] if names else []
