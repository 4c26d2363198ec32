"""The evaluations that a training has logged on its way."""

from __future__ import annotations

import json
from pathlib import Path

from uda_hydra.engine.scores import MEAN
from uda_hydra.tracking.metric_log import METRICS, LoggedStep, read


def evaluations(folder: Path) -> list[LoggedStep]:
    """The logged steps that hold a target mIoU; none without tracking or in a damaged file."""
    try:
        logged, _ = read(folder / METRICS, 0)
    except (OSError, TypeError, json.JSONDecodeError):
        return []
    return [step for step in logged if MEAN in step.values]
