"""What ``launch.py`` can be asked to do."""

from __future__ import annotations

import multiprocessing

from omegaconf import DictConfig

from uda_hydra.config import settings
from uda_hydra.errors import UserError, nearest

TASKS = ("train", "evaluate", "predict", "convert", "check_data", "scan", "sync")


def run(config: DictConfig, overrides: list[str], label: str) -> float | list[float] | None:
    """Run ``config.task``; ``label`` names a run whose output folder is not given."""
    if config.task == "report":
        raise UserError(
            "task=report needs the study: the overrides of its command, sweep=... or -m and what "
            "is swept"
        )
    if config.task not in TASKS:
        hint = nearest(config.task, (*TASKS, "report"))
        raise UserError(f"there is no task {config.task!r}{hint}")
    for group in ("trainer", "optimizer", "evaluation", "tracking"):
        settings(config[group])
    known = multiprocessing.get_all_start_methods()
    if multiprocessing.get_start_method() not in known:
        # A worker of joblib; the processes that load its data do not know how joblib starts them.
        multiprocessing.set_start_method(known[0], force=True)
    # Only now torch is loaded: a value out of range is told at once.
    from uda_hydra.tasks.check_data import check_data
    from uda_hydra.tasks.convert import convert
    from uda_hydra.tasks.evaluate import evaluate
    from uda_hydra.tasks.predict import predict
    from uda_hydra.tasks.scan import scan
    from uda_hydra.tasks.sync import sync
    from uda_hydra.tasks.train import train

    tasks = (train, evaluate, predict, convert, check_data, scan, sync)
    return dict(zip(TASKS, tasks, strict=True))[config.task](config, overrides, label)
