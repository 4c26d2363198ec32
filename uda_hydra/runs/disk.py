"""What a training leaves on the disk: which of its checkpoints, and how large they are."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig
from torch import nn

from uda_hydra import build
from uda_hydra.engine.device import without_memory
from uda_hydra.errors import UserError
from uda_hydra.methods.base import Player
from uda_hydra.runs.identity import paths_below
from uda_hydra.runs.stages import Stage


def kept_of(stage: Stage, stages: Sequence[Stage], keep: str) -> str:
    """``trainer.keep`` for a stage of the run: both where it would remove what is read later.

    Other stages name the checkpoint they read, and a table reads last.pt.
    """
    if keep == "both":
        return keep
    removed = stage.folder / ("last.pt" if keep == "best" else "best.pt")
    read = any(paths_below(other.config, removed) for other in stages)
    in_table = keep == "best" and stage.config.table is not None
    return "both" if read or in_table else keep


def bytes_of(config: DictConfig, keep: str) -> int:
    """About how many bytes a training leaves as checkpoints with ``trainer.keep`` of ``keep``.

    Networks and optimisers are counted without being made. Where a method needs a file that an
    earlier stage is still to make, its network alone counts.
    """
    with without_memory():
        network = build.network(config)
        try:
            method = build.method(config, network)
            whole, players = method, [*method.players().values()]
        except UserError:
            whole, players = network, [Player(network, "segmenter")]
    weights = sum(tensor.nbytes for tensor in whole.state_dict().values())
    moments = sum(_moments(player, config) * _trained(player.module) for player in players)
    complete = weights + moments
    sizes = {"both": 2 * complete + weights, "last": complete, "best": weights, "weights": weights}
    return sizes[keep]


def free_bytes(folder: Path) -> int:
    """The room on the disk where ``folder`` is or will be."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free


def _moments(player: Player, config: DictConfig) -> int:
    """How many numbers its optimiser keeps for each parameter."""
    if player.kind == "discriminator" or config.optimizer.algorithm == "adamw":
        return 2
    return 1 if config.optimizer.momentum else 0


def _trained(module: nn.Module) -> int:
    return sum(p.nbytes for p in module.parameters() if p.requires_grad)
