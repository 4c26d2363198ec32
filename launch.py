"""The one entry point: compose the config, run its task, return the objective."""

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

try:
    import hydra
except ModuleNotFoundError as error:
    if error.name != "hydra":
        raise
    sys.exit(
        "error: this Python lacks Hydra; run . .venv/bin/activate, after make setup if there is "
        "no .venv"
    )
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from uda_hydra.errors import Unfinished, reported
from uda_hydra.schema import help_text, register
from uda_hydra.studies.plugin import check_single, print_space
from uda_hydra.terminal import labelled, outlast_terminal, written_to


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> float | list[float] | None:
    """Run ``config.task``; a training returns the objective, or a list of them."""
    # Imported late, so that --help and a mistyped key answer at once.
    from uda_hydra import tasks

    job = HydraConfig.get()
    # A study records every error and continues with its next trial; a table that of failed stages.
    in_study = job.mode == RunMode.MULTIRUN and config.table is None
    with (
        _printing(config, job),
        reported(leave=(Exception,) if in_study else (Unfinished,)),
    ):
        if job.mode == RunMode.RUN and config.task == "train":
            check_single(job.overrides.hydra)
        return tasks.run(config, [*job.overrides.task])


def _printing(config: DictConfig, job: DictConfig) -> AbstractContextManager[None]:
    """What a trial prints is in its folder, or labelled among what others print at the time."""
    if config.trial.study is None:
        return nullcontext()
    if not job.sweeper.verbose:
        return written_to(Path(config.output) / "output.txt")
    alone = job.runtime.choices["hydra/launcher"] == "basic"
    return nullcontext() if alone else labelled(f"trial {config.trial.number}: ")


if __name__ == "__main__":
    outlast_terminal()
    register()
    if {"--help", "-h"}.isdisjoint(sys.argv):
        with reported():
            print_space(sys.argv[1:])
            main()
    else:
        print(help_text())
