"""A program whose trainings take no time, so that what remains is the cost of sweeping.

    python -m uda_hydra.benchmark.trivial -m hydra/sweeper=... loss.lambda_seg=...

It takes the overrides of ``launch.py``; the benchmark runs it with our sweeper and the plain one.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf

from uda_hydra.config import settings
from uda_hydra.engine.events import Run
from uda_hydra.errors import reported
from uda_hydra.schema import register
from uda_hydra.studies.optuna2 import repair
from uda_hydra.tracking.mlflow import Tracking

CONF = Path(__file__).parents[2] / "conf"
TIMES = "UDA_HYDRA_TIMES"
"""Environment variable: the file to which each training adds a line with the time of its start."""


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def main(config: DictConfig) -> float:
    """Record the time, log a run to MLflow if tracking is on, and return the objective."""
    with Path(os.environ[TIMES]).open("a") as file:
        file.write(f"{time.time()}\n")
    value = float(config.loss.lambda_seg)
    tracking = settings(config.tracking)
    if tracking.enabled:
        study, folder = Path(config.trial.study), Path(config.output)
        watcher = Tracking(
            tracking.uri, tracking.experiment, artifacts=Path(tracking.artifacts), parent=study
        )
        watcher.on_start(Run(folder.name, folder, 1, 0, OmegaConf.to_container(config)))
        watcher.on_log(1, {"loss/seg": value})
        watcher.on_end("finished")
    return -((value - 0.3) ** 2)


if __name__ == "__main__":
    register()
    # For the plain sweeper too, which could not open its database otherwise.
    repair()
    with reported():
        main()
