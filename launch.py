"""The one entry point: compose the config, run its task, return the objective."""

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from uda_hydra.errors import Unfinished, no_worker_left, reported
from uda_hydra.schema import register


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> float | list[float] | None:
    """Run ``config.task``; a training returns the objective, or a list of them."""
    # Late, so that --help and a mistyped key answer at once.
    from uda_hydra import tasks

    job = HydraConfig.get()
    choices = job.runtime.choices
    label = f"{choices['method']}-{choices['dataset']}-seed{config.seed}".replace("/", "-")
    # A study hears of every error and goes on with the next training; a table of failed stages.
    study = job.mode == RunMode.MULTIRUN and config.table is None
    with no_worker_left() if study else reported(leave=(Unfinished,)):
        return tasks.run(config, list(job.overrides.task), label)


if __name__ == "__main__":
    register()
    with reported():
        main()
