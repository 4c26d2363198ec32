"""The one entry point: compose the config, run its task, return the objective."""

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from uda_hydra.errors import Unfinished, reported
from uda_hydra.schema import register
from uda_hydra.terminal import outlast_terminal, written_to


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> float | list[float] | None:
    """Run ``config.task``; a training returns the objective, or a list of them."""
    # Imported late, so that --help and a mistyped key answer at once.
    from uda_hydra import tasks

    job = HydraConfig.get()
    # A study records every error and continues with its next trial; a table that of failed stages.
    in_study = job.mode == RunMode.MULTIRUN and config.table is None
    # What a trial prints is in its folder; the sweep prints a line for each.
    quiet = config.trial.study is not None and not job.sweeper.verbose
    with (
        written_to(Path(config.output) / "output.txt" if quiet else None),
        reported(leave=(Exception,) if in_study else (Unfinished,)),
    ):
        return tasks.run(config, [*job.overrides.task])


if __name__ == "__main__":
    outlast_terminal()
    register()
    with reported():
        main()
