"""Export: a copy of a study's database that today's Optuna and optuna-dashboard open."""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from uda_hydra.errors import UserError


def export_study(config: DictConfig, overrides: list[str]) -> None:
    """Copy the database of the study in ``config.output``; UserError if there is none.

    A command that is a sweep never comes here: its sweeper knows the folder.
    """
    if config.output is None:
        raise UserError(
            "task=export_study needs the study: output=FOLDER, or the overrides of its command, "
            "sweep=... or -m and what is swept"
        )
    # Late: Optuna takes a second to import.
    from uda_hydra.studies.export import show_export

    show_export(Path(config.output), HydraConfig.get().sweeper.storage)
