"""Names and types of the run-level keys: a typo or a wrong type dies in one clear line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore

from uda_hydra.settings import OptimizerSettings, TrackingSettings, TrainerSettings


@dataclass
class RunSchema:
    """The top of the config; groups without a type here are checked where they are built."""

    task: str
    seed: int
    init: str | None
    output: str | None
    objective: str
    input: str | None
    model: Any
    dataset: Any
    method: Any
    loss: dict[str, float]
    optimizer: OptimizerSettings
    trainer: TrainerSettings
    tracking: TrackingSettings
    callbacks: Any
    stages: dict[str, list[str]]
    stage: dict[str, Any]


def register() -> None:
    """Make the schema known to Hydra; call before ``@hydra.main`` runs."""
    ConfigStore.instance().store(name="schema", node=RunSchema)
