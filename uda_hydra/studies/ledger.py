"""Which trainings of a study are to be done, by whom, and what became of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from uda_hydra.studies import owner, storage
from uda_hydra.studies.space import Point, Space, key

Sampler = Callable[[int], optuna.samplers.BaseSampler]
"""Makes the sampler that draws the trial of this number: draws depend on nothing else."""


@dataclass(frozen=True)
class Design:
    """What a study consists of."""

    space: Space
    seeds: tuple[int, ...]
    grid: bool
    total: int
    """Trainings, each of a point with a seed."""
    retry_failed: bool


class Job(NamedTuple):
    """A training that this process has taken on."""

    number: int
    trial_id: int
    point: Point
    seed: int
    folder: str
    """Below the study's; that of the trial it continues."""
    continues: int | None


class Ledger:
    """A study in its database. Every change is made while no other process looks."""

    def __init__(
        self, folder: Path, url: str, *, directions: Sequence[str], design: Design, sampler: Sampler
    ) -> None:
        self._folder, self._url = folder, url
        self._design, self._sampler = design, sampler
        with storage.exclusive(folder, url):
            self._backend = storage.opened(url)
            self._storage = optuna.storages.get_storage(self._backend)
            self.study = optuna.create_study(
                study_name=folder.name,
                storage=self._storage,
                directions=[*directions],
                load_if_exists=True,
            )
        self._id = self._storage.get_study_id_from_name(folder.name)
        self._first = len(self.trials())
        self._mine: set[int] = set()

    def trials(self) -> list[FrozenTrial]:
        """All trials of all processes, as they are now."""
        return self.study.get_trials(deepcopy=False)

    def describe(self, facts: dict[str, Any]) -> None:
        """Write down what the report needs to know beside the trials."""
        with storage.exclusive(self._folder, self._url):
            known = self.study.user_attrs
            for name, value in facts.items():
                if known.get(name) != value:
                    self.study.set_user_attr(name, value)

    def take(self, count: int) -> list[Job]:
        """Up to ``count`` trainings to do next: first those that were interrupted."""
        with storage.exclusive(self._folder, self._url):
            self._bury()
            jobs: list[Job] = []
            while len(jobs) < count and (job := self._next()) is not None:
                jobs.append(job)
            self._mine.update(job.trial_id for job in jobs)
            return jobs

    def tell(self, job: Job, state: TrialState, values: Sequence[float] | None, note: str) -> bool:
        """Record how a job ended; False if another process took it over meanwhile."""
        try:
            if note:
                self._storage.set_trial_user_attr(job.trial_id, "note", note)
            self.study.tell(job.number, values=values, state=state)
        except RuntimeError:  # Optuna's word for a trial that is finished
            return False
        finally:
            self._mine.discard(job.trial_id)
        return True

    def interrupt(self, job: Job, note: str) -> None:
        """Record that a job has stopped and is to be continued."""
        with contextlib.suppress(RuntimeError):
            self._storage.set_trial_user_attr(job.trial_id, "interrupted", True)
        self.tell(job, TrialState.FAIL, None, note)

    def sign(self) -> None:
        """Tell other machines that this process works on its trials."""
        for trial_id in [*self._mine]:
            # Finished at this very moment: no sign is needed any more.
            with contextlib.suppress(RuntimeError):
                self._backend.set_trial_user_attr(trial_id, "sign", time.time())

    def _bury(self) -> None:
        """Record the trials of killed processes as failed, to be continued."""
        for trial in self.trials():
            attrs = trial.user_attrs
            if trial.state == TrialState.RUNNING and not owner.alive(
                attrs.get("owner"), attrs.get("sign", 0.0)
            ):
                self._storage.set_trial_user_attr(trial._trial_id, "interrupted", True)
                self._storage.set_trial_user_attr(trial._trial_id, "note", "interrupted")
                self.study.tell(trial.number, state=TrialState.FAIL)

    def _next(self) -> Job | None:
        trials = self.trials()
        attempts = latest(trials)
        for trial in sorted(attempts.values(), key=lambda t: t.number):
            if interrupted(trial) or self._again(trial):
                return self._continue(trial)
        if len(attempts) >= self._design.total:
            return None
        for point, seed in self._planned(attempts):
            if (key(point), seed) not in attempts:
                return self._begin(point, seed, len(trials))
        return None if self._design.grid else self._draw(len(trials))

    def _again(self, trial: FrozenTrial) -> bool:
        old = trial.number < self._first
        return self._design.retry_failed and old and trial.state == TrialState.FAIL

    def _planned(self, attempts: dict[Any, FrozenTrial]) -> Iterator[tuple[Point, int]]:
        """The reference with every seed; then a grid's points, or every seed of those drawn."""
        space, seeds = self._design.space, self._design.seeds
        if self._design.grid:
            first, *others = space.points()
            yield from ((first, seed) for seed in seeds)
            yield from ((point, seed) for seed in seeds for point in others)
            return
        if space.reference is not None:
            yield from ((space.reference, seed) for seed in seeds)
        drawn = {point: trial.params for (point, _), trial in attempts.items()}
        yield from ((point, seed) for point in drawn.values() for seed in seeds)

    def _begin(self, point: Point, seed: int, number: int) -> Job:
        attrs = self._attrs(seed, f"trials/{number:04}")
        return self._create(point, attrs, None)

    def _continue(self, trial: FrozenTrial) -> Job:
        attrs = self._attrs(trial.user_attrs["seed"], trial.user_attrs["folder"])
        return self._create(trial.params, attrs | {"continues": trial.number}, trial)

    def _create(self, point: Point, attrs: dict[str, Any], before: FrozenTrial | None) -> Job:
        template = create_trial(
            state=TrialState.RUNNING,
            params=dict(point),
            distributions=self._design.space.distributions,
            user_attrs=attrs,
            # What was told to the pruner before the interruption still holds.
            intermediate_values=before.intermediate_values if before else None,
        )
        return self._job(self._storage.create_new_trial(self._id, template))

    def _draw(self, number: int) -> Job:
        attrs = self._attrs(self._design.seeds[0], f"trials/{number:04}")
        template = create_trial(state=TrialState.RUNNING, user_attrs=attrs, value=None)
        trial_id = self._storage.create_new_trial(self._id, template)
        self.study.sampler = self._sampler(number)
        trial = optuna.trial.Trial(self.study, trial_id)
        for name, distribution in self._design.space.distributions.items():
            trial._suggest(name, distribution)
        return self._job(trial_id)

    def _attrs(self, seed: int, folder: str) -> dict[str, Any]:
        return {"seed": seed, "folder": folder, "owner": owner.myself(), "sign": time.time()}

    def _job(self, trial_id: int) -> Job:
        trial = self._storage.get_trial(trial_id)
        attrs = trial.user_attrs
        return Job(
            trial.number,
            trial_id,
            dict(trial.params),
            attrs["seed"],
            attrs["folder"],
            attrs.get("continues"),
        )


def latest(trials: Sequence[FrozenTrial]) -> dict[Any, FrozenTrial]:
    """The last attempt at each point with each seed, by both.

    A draw that was killed before it was complete is no attempt.
    """
    width = max((len(trial.params) for trial in trials), default=0)
    whole = [trial for trial in trials if len(trial.params) == width]
    return {(key(trial.params), trial.user_attrs["seed"]): trial for trial in whole}


def interrupted(trial: FrozenTrial) -> bool:
    """Whether a trial is to be continued by another."""
    return trial.state == TrialState.FAIL and trial.user_attrs.get("interrupted", False)
