"""Filling a network from a file, all or nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from uda_hydra.inputs import shown
from uda_hydra.models.checkpoints.branches import branch_warnings
from uda_hydra.models.checkpoints.layouts import OURS
from uda_hydra.models.checkpoints.names import abbreviate
from uda_hydra.models.checkpoints.reading import Checkpoint, read_checkpoint
from uda_hydra.models.checkpoints.weight_layout import COUNTER, WeightLayout

CLASSIFIER = re.compile(r"(main|aux)_head\.(branches\.\d+|classifier)\.(weight|bias)")
"""Names of ours whose first dimension is the number of classes."""
NEEDED = ("backbone.", "feat_norm.", "scale_attention.")
"""Our prefixes of what a main head's input depends on."""


class LoadReport(NamedTuple):
    """What happened to the tensors of a file; made to be printed."""

    file: str
    layout: str
    """Name of the layout that was recognised."""
    title: str
    """The project whose layout it is, and how the file was wrapped."""
    loaded: tuple[str, ...]
    """Names in the network that were filled."""
    dropped: tuple[str, ...]
    """Names in the file that the network does not have; our names where the layout gives one."""
    missing: tuple[str, ...]
    """Names in the network that keep their initial values."""
    ignored_keys: tuple[str, ...]
    """Keys of the file that hold something other than weights."""
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        count = len(self.loaded)
        return "\n".join(
            [
                f"{shown(self.file)}: {self.layout} ({self.title}), {count} tensors loaded",
                *_listed("dropped from the file", self.dropped),
                *_listed("not in the file, kept as initialised", self.missing),
                *_listed("ignored keys", self.ignored_keys),
                *(f"  warning: {warning}" for warning in self.warnings),
            ]
        )


def load_weights(
    network: nn.Module,
    file: str | Path,
    *,
    known: Callable[[Mapping[str, Tensor]], WeightLayout | None] | None = None,
    whole: bool = False,
) -> LoadReport:
    """Fill ``network`` from ``file``; if anything does not fit, nothing changes.

    ``known`` gives the layout of files that only the network itself knows. A ``whole`` network has
    trained heads, which files of initial weights lack.

    Old files lack ``num_batches_tracked``, which becomes 0.
    Raises ValueError, naming file and remedy, for what cannot be read, recognised or fitted.
    """
    checkpoint = read_checkpoint(file, known)
    report = _compare(network, checkpoint)
    if whole and any(name.startswith("main_head.") for name in report.missing):
        raise ValueError(
            f"init={shown(report.file)} ({report.layout}: {report.title}): holds no trained head, "
            "as weights to begin a training with; choose a file that a training has written"
        )
    state = network.state_dict()
    with torch.no_grad():
        for name in set(state) - set(report.loaded) - set(report.missing):
            state[name].zero_()
        for name in report.loaded:
            state[name].copy_(checkpoint.tensors[name])
    return report


def _compare(network: nn.Module, checkpoint: Checkpoint) -> LoadReport:
    """What loading will do. Raises ValueError if the file does not fit the network."""
    state, layout = network.state_dict(), checkpoint.layout
    loaded = [name for name in checkpoint.tensors if name in state]
    dropped = [name for name in checkpoint.tensors if name not in state]
    absent = state.keys() - set(loaded)
    missing = [name for name in state if name in absent and not name.endswith(COUNTER)]
    where = f"init={checkpoint.file} ({layout.name}: {layout.title})"
    remedy = _right_model(checkpoint.file)
    if not loaded:
        other = "choose a file with the weights of a segmentation network"
        raise ValueError(
            f"{where}: none of its tensors belongs to the model, {abbreviate(dropped)}; "
            f"{remedy if layout.name == OURS.name else other}"
        )
    for name in loaded:
        _check_shape(name, checkpoint.tensors[name], state[name], where, remedy)
        _check_values(name, checkpoint.tensors[name], state[name], where)
    _check_dropped(dropped, loaded, where, remedy)
    _check_missing(missing, layout.may_be_missing, where, remedy)
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
        ignored_keys=checkpoint.ignored_keys,
        warnings=branch_warnings(network, checkpoint.tensors, layout),
    )


def _right_model(file: str) -> str:
    """What to do about a file of another model; a training's config lies beside its weights."""
    config = Path(file).with_name("config.yaml")
    hint = f", which {shown(config)} names" if config.is_file() else ""
    return f"choose the model this file was made for{hint}"


def _check_shape(name: str, theirs: Tensor, ours: Tensor, where: str, remedy: str) -> None:
    if theirs.shape == ours.shape:
        return
    if CLASSIFIER.fullmatch(name) and theirs.shape[1:] == ours.shape[1:]:
        raise ValueError(
            f"{where}: its heads have {len(theirs)} classes and the model has {len(ours)}; choose "
            f"a data set with {len(theirs)} classes"
        )
    raise ValueError(
        f"{where}: {name} has shape {tuple(theirs.shape)} and the model needs "
        f"{tuple(ours.shape)}; {remedy}"
    )


def _check_values(name: str, theirs: Tensor, ours: Tensor, where: str) -> None:
    if theirs.is_floating_point() != ours.is_floating_point():
        kinds = (str(tensor.dtype).removeprefix("torch.") for tensor in (theirs, ours))
        raise ValueError(f"{where}: {name} is of type {' and not '.join(kinds)}")
    if not theirs.isfinite().all():
        raise ValueError(f"{where}: {name} holds numbers that are not finite")


def _check_dropped(dropped: list[str], loaded: list[str], where: str, remedy: str) -> None:
    """Raise ValueError if the file's head was trained on a part that the model does not have."""
    lost = [name for name in dropped if name.startswith(NEEDED) and not name.endswith(COUNTER)]
    if lost and any(name.startswith("main_head.") for name in loaded):
        only_norm = all(name.startswith("feat_norm.") for name in lost)
        remedy = "set model.feat_norm=true" if only_norm else remedy
        raise ValueError(
            f"{where}: its head was trained with {abbreviate(lost)}, which the model does not "
            f"have; {remedy}"
        )


def _check_missing(
    missing: list[str], may_be_missing: tuple[str, ...], where: str, remedy: str
) -> None:
    """Raise ValueError if the file lacks tensors that a file of its layout must have."""
    lacking = [name for name in missing if not name.startswith(may_be_missing)]
    if lacking:
        only_aux = all(name.startswith("aux_head.") for name in lacking)
        remedy = "set model.multi_level=false" if only_aux else remedy
        raise ValueError(f"{where}: lacks {len(lacking)} tensors, {abbreviate(lacking)}; {remedy}")


def _listed(title: str, names: tuple[str, ...]) -> list[str]:
    return [f"  {title}: {abbreviate(names, most=6)}"] if names else []
