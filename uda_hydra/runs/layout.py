"""A run's place: alone, or as a trial of a study, whose first stages it shares with the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omegaconf import OmegaConf

from uda_hydra import build
from uda_hydra.engine.events import Callback
from uda_hydra.engine.lock import locked
from uda_hydra.runs.stages import Stage


class Place:
    """Where a run's folders are, and what MLflow is told of it."""

    def __init__(self, stages: list[Stage]) -> None:
        self._last = stages[-1]
        self._alone = len(stages) == 1
        self._trial = self._last.config.trial
        self.top = self._last.folder if self._alone else self._last.folder.parent
        """The folder of the whole run."""
        self.study = None if self._trial.study is None else Path(self._trial.study)
        """The folder of its study."""

    def name(self, otherwise: str) -> str:
        """What the run is called."""
        if self.study is None:
            return otherwise
        values = [f"{key.split('.')[-1]}={value}" for key, value in self._swept().items()]
        return " ".join([f"{self._trial.number:04}", *values, f"seed={self._last.config.seed}"])

    def tags(self) -> dict[str, str]:
        """By which a trial is found in MLflow."""
        if self.study is None:
            return {}
        own = {"study": self.study.name, "trial": str(self._trial.number)}
        return own | {"seed": str(self._last.config.seed)} | self._swept()

    def _swept(self) -> dict[str, str]:
        found = {key: OmegaConf.select(self._last.config, key) for key in self._trial.swept}
        return {key: str(value) for key, value in found.items() if value is not None}

    def parent(self, stage: Stage) -> Path | None:
        """The folder of the run that a stage is shown below: a shared one belongs to the study."""
        return self.study if self._alone or self._shares(stage) else self.top

    def watchers(self, stage: Stage) -> list[Callback]:
        """Those who watch a stage; a pruner, which may end it, speaks last."""
        watching = build.callbacks(stage.config, self.parent(stage))
        if stage is self._last and self._trial.prune:
            # Late: a run that stands alone needs no optuna.
            from uda_hydra.studies.pruning import Pruning

            watching.append(Pruning(Path(self._trial.study), self._trial.number))
        return watching

    @contextmanager
    def held(self, stage: Stage) -> Iterator[None]:
        """Nobody else trains the stage: who comes second waits, and goes on if the first dies."""
        if not self._shares(stage):
            yield
            return
        with locked(stage.folder, wait=True):
            yield

    def _shares(self, stage: Stage) -> bool:
        return not self._alone and stage.folder.parent != self.top
