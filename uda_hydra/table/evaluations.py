"""The evaluations that a training has logged on its way."""

from __future__ import annotations

import math
from pathlib import Path

from uda_hydra.engine.scores import MEAN
from uda_hydra.tracking.metric_log import METRICS, LoggedStep, read


def evaluations(folder: Path) -> list[LoggedStep]:
    """The logged steps that hold a target mIoU; none where the training was not tracked."""
    try:
        logged = read(folder / METRICS, 0).points
    except OSError:
        return []
    return [step for step in logged if math.isfinite(step.values.get(MEAN, math.nan))]
