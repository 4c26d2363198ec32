"""Steps of official trainings, taken by our Trainer from the recorded batches."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import composed
from tests.parity.closeness import close
from tests.parity.official_networks import NETWORKS, load, small
from uda_hydra.config import settings
from uda_hydra.data.pair import Pair
from uda_hydra.engine.trainer import Trainer
from uda_hydra.methods.base import Method
from uda_hydra.models.deeplabv2 import deeplabv2
from uda_hydra.types import Source, Step, Target

DOUBLE = pytest.param(torch.float64, marks=pytest.mark.slow)
PRECISIONS = (torch.float32, DOUBLE)


def runs(names: Iterable[str], in_double: Iterable[str]) -> list[Any]:
    """Every case in float32; some in float64 too, slowly, where roundings cannot hide a fault."""
    double = [pytest.param(name, *DOUBLE.values, marks=DOUBLE.marks) for name in in_double]
    return [(name, torch.float32) for name in names] + double


class Player(NamedTuple):
    """A network, and our name of each of its official entries."""

    network: nn.Module
    names: dict[str, str]


def trainer_of(method: Method, folder: Path, *overrides: str, weights: dict[str, float]) -> Trainer:
    """A trainer that is fed by hand; what the overrides do not say is what the presets say."""
    config = composed("dataset=gta2city", "trainer.device=cpu", *overrides)
    return Trainer(
        method,
        object.__new__(Pair),  # never read
        settings=settings(config.trainer),
        optimizer=settings(config.optimizer),
        evaluation=settings(config.evaluation),
        weights={f"lambda_{term}": weight for term, weight in weights.items()},
        seed=0,
        device=torch.device("cpu"),
        bfloat16=False,
        folder=folder,
    )


def take_step(trainer: Trainer, step: int, source: Source, target: Target) -> dict[str, Tensor]:
    """The raw loss terms of one step, taken at its own rates."""
    return trainer.step(source, target, Step(step, step / trainer.optimization.horizon))


def segmenter_of(
    name: str, weights: dict[str, Tensor], *, num_classes: int, multi_level: bool
) -> Player:
    """The small network ``name`` with official weights.

    Without ``multi_level`` it has no auxiliary head, whatever the weights have.
    """
    # DeepLabV3+ never has one.
    more = {"multi_level": multi_level} if NETWORKS[name].build is deeplabv2 else {}
    if not multi_level:
        weights = {key: w for key, w in weights.items() if not key.startswith("layer5.")}
    segmenter = small(name, num_classes, **more)
    return Player(segmenter, load(segmenter, weights, NETWORKS[name].layout))


def state(players: dict[str, Player]) -> dict[str, Tensor]:
    """A copy of every floating tensor by official name, which the player's key begins."""
    found = {}
    for prefix, (network, names) in players.items():
        tensors = network.state_dict()
        for official, ours in names.items():
            if tensors[ours].is_floating_point():
                found[f"{prefix}{official}"] = tensors[ours].double().clone()
    return found


def assert_state(
    out: dict[str, Tensor],
    names: list[str],
    before: dict[str, Tensor],
    after: dict[str, Tensor],
    *,
    mean_atol: float,
    delta: tuple[float, float],
) -> None:
    """Norm, mean and change of our tensors; ``delta``: relative and absolute bound of the last.

    ``names`` are in the order of the reference's numbers.
    """
    position = {name: i for i, name in enumerate(names)}
    for key, end in after.items():
        i, start = position[key], before[key]
        if "init_l2" in out:
            close(start.norm(), out["init_l2"][i], rtol=1e-5)
        close(end.norm(), out["final_l2"][i], rtol=1e-4)
        close(end.mean(), out["final_mean"][i], rtol=1e-3, atol=mean_atol)
        close((end - start).norm(), out["delta_l2"][i], rtol=delta[0], atol=delta[1])
