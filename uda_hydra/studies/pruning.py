"""Ends a training early when the study's pruner has seen enough of it."""

from __future__ import annotations

import os
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate

from uda_hydra.engine.events import Callback, Evaluation
from uda_hydra.errors import Stopped

STORAGE = "UDA_HYDRA_STUDY"
"""Environment variable with the URL of the database, which may hold a password."""


class Pruned(Stopped):
    """The study's pruner ended a training; its score is no response of its point."""


class Pruning(Callback):
    """Reports the mIoU of every evaluation to a trial, and raises Pruned when it is told to."""

    def __init__(self, study: Path, number: int) -> None:
        # Late: a training outside a study needs no optuna.
        import optuna

        from uda_hydra.studies import storage

        found = optuna.load_study(
            study_name=study.name,
            storage=storage.opened(os.environ.get(STORAGE) or storage.url_of(study, None)),
            # Draws nothing; the default would look at all trials to no end.
            sampler=optuna.samplers.RandomSampler(),
            pruner=instantiate(HydraConfig.get().sweeper.pruner),
        )
        trial = next(t for t in found.trials if t.number == number)
        self._trial = optuna.trial.Trial(found, trial._trial_id)
        self._told = {*trial.intermediate_values}

    def on_evaluate(self, evaluation: Evaluation) -> None:
        """Report, and end the training if it lags behind the others."""
        if evaluation.step not in self._told:
            self._trial.report(evaluation.scores.miou, evaluation.step)
        if self._trial.should_prune():
            miou = 100 * evaluation.scores.miou
            raise Pruned(f"pruned after step {evaluation.step}, at mIoU {miou:.2f} %")
