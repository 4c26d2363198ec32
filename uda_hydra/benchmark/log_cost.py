"""The time that logging takes in the training's thread."""

from __future__ import annotations

import io
import time

import numpy as np

from uda_hydra.benchmark.setup import SMALLEST, TINY, caco_trainer, streets_pair
from uda_hydra.benchmark.timing import Measurement, Setting, Times, overhead
from uda_hydra.engine.events import Callback, Run

SKIPPED = 3
"""Steps at the start that are not counted: the first ones allocate."""


class LogTimes(Callback):
    """Records when it is called. Two of these time the callbacks between them."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_log(self, step: int, values: dict[str, float]) -> None:
        """Note the time."""
        self.seconds.append(time.perf_counter())


def split(before: list[float], after: list[float], *, skip: int) -> Times:
    """What each log took (ours), and the step that led to it (plain), from the marks' times."""
    log = np.subtract(after, before)[1:]
    step = np.subtract(before[1:], after[:-1])
    return Times(log[skip:].tolist(), step[skip:].tolist())


def compare(setting: Setting) -> list[Measurement]:
    """Progress and tracking, logging every step of the smallest useful training."""
    # Only this comparison needs psutil.
    from uda_hydra.callbacks.progress import Progress
    from uda_hydra.tracking.mlflow import Tracking

    scale, height = (SMALLEST, 64) if setting.quick else (TINY, 128)
    steps = SKIPPED + 1 + setting.repetitions(40)
    folder = setting.folder / "log"
    database = f"sqlite:///{folder.absolute()}/mlflow.db"
    tracking = Tracking(database, "benchmark", artifacts=folder / "artifacts")
    before, after = LogTimes(), LogTimes()
    trainer = caco_trainer(
        streets_pair(setting.folder, scale, height=height),
        scale,
        steps=steps,
        device=setting.device,
        folder=folder,
        callbacks=[before, Progress(io.StringIO()), tracking, after],
    )
    trainer.fit(Run("benchmark", folder, steps, 0, {"seed": 0}))

    lines = (folder / "metrics.jsonl").read_text().splitlines()
    if len(lines) < steps:
        raise RuntimeError(f"{len(lines)} of {steps} steps were logged, so the time is meaningless")
    times = split(before.seconds, after.seconds, skip=SKIPPED)
    note = (
        f"deeplabv2_tiny, {scale.source[0]}x{scale.source[1]}, batch {scale.batch_size}, a log at "
        "every step; plain is the step, in which the losses are turned into numbers; "
        + ("sent to MLflow" if (folder / "mlflow.json").exists() else "no MLflow, kept on disk")
    )
    return [overhead("logging", times, "under 0.02", note)]
