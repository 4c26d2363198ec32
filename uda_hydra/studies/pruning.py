"""Ends a training early when the study's pruner has seen enough of it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate

from uda_hydra.engine.events import Callback, Evaluation, Run
from uda_hydra.errors import Stopped, first_line

if TYPE_CHECKING:
    import optuna


log = logging.getLogger(__name__)


class Pruned(Stopped):
    """The study's pruner ended a training; its score is not a response of its point."""

    status = "pruned"


def pruning_of_trial(folder: Path, number: int) -> Pruning:
    """The pruning of trial ``number`` of the study in ``folder``, as the sweep configures it.

    The URL of the database may hold a password. It stays in Hydra's own node of the config, which
    is composed in the trial's process and is never logged or written.
    """
    from uda_hydra.studies import storage

    sweeper = HydraConfig.get().sweeper
    url = storage.url_of(folder, sweeper.storage)
    return Pruning(folder.name, number, url=url, pruner=instantiate(sweeper.pruner))


class Pruning(Callback):
    """Reports the mIoU of every evaluation to a trial, and raises Pruned when the pruner asks.

    A database that fails costs a report, never the training.
    """

    def __init__(
        self, study: str, number: int, *, url: str, pruner: optuna.pruners.BasePruner
    ) -> None:
        # Late: a training outside a study does not need optuna.
        import optuna

        from uda_hydra.studies import storage

        found = storage.LatestTrials(
            study_name=study,
            storage=storage.open_database(url),
            # It draws nothing; the default sampler would read all trials for that.
            sampler=optuna.samplers.RandomSampler(),
            pruner=pruner,
        )
        trial = next(t for t in found.trials if t.number == number)
        self._trial = optuna.trial.Trial(found, trial._trial_id)
        self._reported = {*trial.intermediate_values}
        self._failing = False
        self._steps = 0

    def on_start(self, run: Run) -> None:
        """Keep the length of the training."""
        self._steps = run.steps

    def on_evaluate(self, evaluation: Evaluation) -> None:
        """Report the mIoU, and end the training if it lags behind the others."""
        try:
            if evaluation.step not in self._reported:
                self._trial.report(evaluation.scores.miou, evaluation.step)
            # A training that has taken its last step is complete.
            lags = evaluation.step < self._steps and self._trial.should_prune()
            self._failing = False
        except Exception as error:  # each database driver has errors of its own
            if not self._failing:
                log.warning("the pruner cannot be asked: %s", first_line(error))
            self._failing, lags = True, False
        if lags:
            miou = 100 * evaluation.scores.miou
            raise Pruned(f"pruned after step {evaluation.step}, at mIoU {miou:.2f} %")
