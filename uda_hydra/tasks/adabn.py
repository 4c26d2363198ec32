"""AdaBN: the method of this name as a task, which needs weights and trains nothing."""

from __future__ import annotations

from omegaconf import DictConfig

from uda_hydra.errors import UserError
from uda_hydra.tasks.train import train


def adabn(config: DictConfig, overrides: list[str]) -> float | list[float]:
    """Write the weights of ``init`` with the target's statistics, as a training does, and score.

    Raises UserError without ``init``: random weights have nothing to adapt.
    """
    if config.init is None:
        raise UserError("task=adabn needs init=FILE: the weights whose batch norm is re-estimated")
    # A method=... of the command is that of the weights, and is not trained.
    config.stages = {config.task: [f"method={config.task}"]}
    return train(config, overrides)
