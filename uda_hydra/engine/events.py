"""The events of a training, and the base of callbacks that observe them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from uda_hydra.engine.scores import Scores


class Panel(NamedTuple):
    """One validation image as seen by the model; all arrays share one height and width."""

    key: str
    image: np.ndarray  # uint8 (h, w, 3), RGB
    truth: np.ndarray  # uint8 (h, w), train ids, 255 ignored
    prediction: np.ndarray  # uint8 (h, w), train ids
    confidence: np.ndarray  # float32 (h, w), largest softmax probability
    labels: Mapping[str, np.ndarray] = {}  # uint8 (h, w), train ids, 255 ignored; see ``diagnose``


class Evaluation(NamedTuple):
    """Scores on the target's validation images after ``step`` steps."""

    step: int
    scores: Scores
    best: float
    panels: tuple[Panel, ...]
    label_free: Mapping[str, float] = {}
    """Scores that no target label enters; see ``label_free.DIRECTIONS``."""
    further: Mapping[str, float] = {}
    """The mean IoU of what else is scored, such as the teacher."""


@dataclass(frozen=True)
class Run:
    """The identity of a training: everything that a callback may record."""

    name: str
    folder: Path
    steps: int
    start: int
    """The step at which this process starts; larger than 0 after a resume."""
    config: dict[str, Any]
    """The resolved config as nested plain values."""
    facts: dict[str, str] = field(default_factory=dict)
    """Command line, git commit, versions, data set fingerprint, group ..."""


class Callback:
    """Observes a training and never changes it."""

    def on_start(self, run: Run) -> None:
        """Called before the first step of this process."""

    def on_log(self, step: int, values: dict[str, float]) -> None:
        """Called every ``trainer.log_every`` steps: ``loss/*``, ``lr/*``, ``speed/*`` ..."""

    def on_evaluate(self, evaluation: Evaluation) -> None:
        """Called after every evaluation."""

    def on_end(self, status: str) -> None:
        """Called last; ``status`` is "finished", "interrupted", "pruned" or "failed"."""
