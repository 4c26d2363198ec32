"""What ``launch.py`` can be asked to do."""

from __future__ import annotations

import multiprocessing
import pkgutil

from omegaconf import DictConfig

from uda_hydra.config import check_values, settings
from uda_hydra.errors import UserError, nearest

TASKS = {
    "train": "uda_hydra.tasks.train:train",
    "evaluate": "uda_hydra.tasks.evaluate:evaluate",
    "adabn": "uda_hydra.tasks.adabn:adabn",
    "predict": "uda_hydra.tasks.predict:predict",
    "convert": "uda_hydra.tasks.convert:convert",
    "check_data": "uda_hydra.tasks.check_data:check_data",
    "stylize": "uda_hydra.tasks.stylize:stylize",
    "scan": "uda_hydra.tasks.scan:scan",
    "sync": "uda_hydra.tasks.sync:sync",
    "list": "uda_hydra.tasks.list:show_all",
    "report": "uda_hydra.tasks.report:report",
    "export_study": "uda_hydra.tasks.export_study:export_study",
}
"""Function of each task; it gets the composed config and the user's overrides."""


def run(config: DictConfig, overrides: list[str]) -> float | list[float] | None:
    """Run ``config.task``."""
    if config.task not in TASKS:
        raise UserError(f"there is no task {config.task!r}{nearest(config.task, TASKS)}")
    check_values(config)
    for group in ("trainer", "optimizer", "evaluation", "tracking"):
        settings(config[group])
    known = multiprocessing.get_all_start_methods()
    if multiprocessing.get_start_method() not in known:
        # A worker of joblib; the processes that load its data do not know how joblib starts them.
        multiprocessing.set_start_method(known[0], force=True)
    # Only now torch is loaded: a value out of range is reported at once.
    return pkgutil.resolve_name(TASKS[config.task])(config, overrides)
