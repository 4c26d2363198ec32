"""The one entry point: compose the config, run its task, return the objective."""

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from uda_hydra.errors import Unfinished, reported
from uda_hydra.schema import register


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> float | list[float] | None:
    """Run ``config.task``; a training returns the objective, or a list of them."""
    # Imported late, so that --help and a mistyped key answer at once.
    from uda_hydra import tasks

    job = HydraConfig.get()
    # A study records every error and continues with its next trial; a table that of failed stages.
    in_study = job.mode == RunMode.MULTIRUN and config.table is None
    with reported(leave=(Exception,) if in_study else (Unfinished,)):
        return tasks.run(config, [*job.overrides.task])


if __name__ == "__main__":
    register()
    with reported():
        main()
