"""Names and types of the top-level keys, and which of them change no number of a result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from uda_hydra.settings import (
    NEUTRAL,
    EvaluationSettings,
    MemberSettings,
    OptimizerSettings,
    StartSettings,
    TrackingSettings,
    TrainerSettings,
    TrialSettings,
)


@dataclass
class RunSchema:
    """The top of the config; groups without a type here are checked where they are built."""

    task: str = field(metadata=NEUTRAL)
    seed: int
    init: str | None
    output: str | None = field(metadata=NEUTRAL)
    fingerprint: str = field(metadata=NEUTRAL)
    objective: Any = field(metadata=NEUTRAL)
    ensemble: list[MemberSettings] = field(metadata=NEUTRAL)
    ensemble_of: str = field(metadata=NEUTRAL)
    input: str | None = field(metadata=NEUTRAL)
    layout: str | None = field(metadata=NEUTRAL)
    published: str | None = field(metadata=NEUTRAL)
    table: str | None = field(metadata=NEUTRAL)
    controls: list[str] = field(metadata=NEUTRAL)
    optional: list[str] = field(metadata=NEUTRAL)
    model: Any
    dataset: Any
    method: Any
    extra: Any
    loss: dict[str, float]
    optimizer: OptimizerSettings
    trainer: TrainerSettings
    evaluation: EvaluationSettings
    augmentation: Any
    sampler: Any
    tracking: TrackingSettings = field(metadata=NEUTRAL)
    callbacks: Any = field(metadata=NEUTRAL)
    stages: dict[str, list[str]] = field(metadata=NEUTRAL)
    stage: dict[str, Any] | None = field(metadata=NEUTRAL)
    folders: dict[str, str] | None = field(metadata=NEUTRAL)
    start: StartSettings = field(metadata=NEUTRAL)
    trial: TrialSettings = field(metadata=NEUTRAL)
