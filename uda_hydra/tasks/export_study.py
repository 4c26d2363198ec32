"""Export: a copy of a study's database that today's Optuna and optuna-dashboard open."""

from __future__ import annotations

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from uda_hydra.tasks.report import study_folder


def export_study(config: DictConfig, overrides: list[str]) -> None:
    """Copy the database of the study in ``config.output``; UserError if there is none.

    A command that is a sweep never comes here: its sweeper knows the folder.
    """
    folder = study_folder(config)
    # Late: Optuna takes a second to import.
    from uda_hydra.studies.export import show_export

    show_export(folder, HydraConfig.get().sweeper.storage)
