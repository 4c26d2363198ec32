"""Report: writes the report of a study again, from the study's folder alone."""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from uda_hydra.config import settings
from uda_hydra.errors import UserError


def report(config: DictConfig, overrides: list[str]) -> None:
    """Write the report of the study in ``config.output``; UserError if there is none.

    A command that is a sweep never comes here: its sweeper knows the folder.
    """
    folder = study_folder(config)
    # Late: the report imports what draws and what tests hypotheses.
    from uda_hydra.studies.outputs import report_folder

    sweeper = HydraConfig.get().sweeper
    report_folder(
        folder,
        sweeper.storage,
        tolerance=sweeper.robust_within,
        tracking=settings(config.tracking),
    )


def study_folder(config: DictConfig) -> Path:
    """The study that ``config.output`` names; UserError if it names none."""
    if config.output is None:
        raise UserError(
            f"task={config.task} needs the study: output=FOLDER, or the overrides of its command, "
            "sweep=... or -m and what is swept"
        )
    return Path(config.output)
