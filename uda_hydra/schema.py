"""Names and types of the run-level keys: a typo or a wrong type dies in one clear line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from uda_hydra.settings import (
    EvaluationSettings,
    MemberSettings,
    OptimizerSettings,
    StartSettings,
    TrackingSettings,
    TrainerSettings,
    TrialSettings,
)
from uda_hydra.studies.plugin import register_sweeper

SWEEPS = Path(__file__).parents[1] / "sweeps"


@dataclass
class RunSchema:
    """The top of the config; groups without a type here are checked where they are built."""

    task: str
    seed: int
    init: str | None
    output: str | None
    objective: Any
    ensemble: list[MemberSettings]
    input: str | None
    layout: str | None
    published: str | None
    table: str | None
    model: Any
    dataset: Any
    method: Any
    loss: dict[str, float]
    optimizer: OptimizerSettings
    trainer: TrainerSettings
    evaluation: EvaluationSettings
    augmentation: Any
    sampler: Any
    tracking: TrackingSettings
    callbacks: Any
    stages: dict[str, list[str]]
    stage: dict[str, Any]
    start: StartSettings
    trial: TrialSettings


def register() -> None:
    """Make schema, sweeper and sweeps known to Hydra; call before ``@hydra.main`` runs.

    Every file in ``sweeps/`` becomes an option of the group ``sweep``, merged at the top.
    """
    store = ConfigStore.instance()
    store.store(name="schema", node=RunSchema)
    register_sweeper()
    for path in sorted(SWEEPS.glob("*.yaml")):
        node = OmegaConf.load(path)
        store.store(group="sweep", name=path.stem, node=node, package="_global_")
