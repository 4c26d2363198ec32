"""Which trainings of a study are to be done, by whom, and what became of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from uda_hydra.errors import UserError
from uda_hydra.studies import owner, storage
from uda_hydra.studies.space import Space, key

Sampler = Callable[[int], optuna.samplers.BaseSampler]
"""Makes a sampler from a seed: what is drawn depends on it and on the trials so far alone."""
REDRAWS = 20
"""Attempts to draw a point that was not drawn before."""


@dataclass(frozen=True)
class Design:
    """What a study consists of."""

    space: Space
    seeds: tuple[int, ...]
    grid: bool
    total: int
    """Trainings, each of a point with a seed."""
    retry_failed: bool

    def planned(self) -> list[tuple[Point, int]]:
        """What a grid consists of: the reference with every seed comes first."""
        first, *others = self.space.points()
        listed = [(first, seed) for seed in self.seeds]
        listed += [(point, seed) for seed in self.seeds for point in others]
        return listed[: self.total]


class Job(NamedTuple):
    """A training that this process has taken on."""

    number: int
    trial_id: int
    point: Point
    seed: int
    folder: str
    """Below the study's; that of the trial it continues."""
    continues: int | None


class TrialQueue:
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
        """Write down what the report needs to know beside the trials.

        Raises UserError if the folder holds a study of another ``recipe``.
        """
        with storage.exclusive(self._folder, self._url):
            known = self.study.user_attrs
            if known.get("recipe", facts["recipe"]) != facts["recipe"]:
                raise UserError(
                    f"{self._folder} holds a study of other values, or with another config; "
                    "choose another folder with output=..."
                )
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
        if self._backend.get_trial(job.trial_id).state.is_finished():
            self._mine.discard(job.trial_id)
            return False
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

    def failed(self) -> list[str]:
        """Why trials failed that are not continued by others."""
        found = latest(self.trials()).values()
        lost = [t for t in found if t.state == TrialState.FAIL and not interrupted(t)]
        return [trial.user_attrs["note"] for trial in lost]

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
        seeds = self._design.seeds
        attempts = {k: t for k, t in latest(trials).items() if t.user_attrs["seed"] in seeds}
        for trial in sorted(attempts.values(), key=lambda t: t.number):
            if interrupted(trial) or self._again(trial):
                return self._create(trial.params, trial.user_attrs["seed"], before=trial)
        for point, seed in self._planned(attempts):
            if (key(point), seed) not in attempts:
                return self._create(point, seed, number=len(trials))
        if self._design.grid or not self._room(attempts):
            return None
        drawn = self._draw(trials, {point for point, _ in attempts})
        return drawn and self._create(drawn.params, seeds[0], len(trials), like=drawn)

    def _room(self, attempts: dict[Any, FrozenTrial]) -> bool:
        return len(attempts) < self._design.total

    def _again(self, trial: FrozenTrial) -> bool:
        old = trial.number < self._first
        return self._design.retry_failed and old and trial.state == TrialState.FAIL

    def _planned(self, attempts: dict[Any, FrozenTrial]) -> list[tuple[Point, int]]:
        """The reference with every seed; then a grid's points, or every seed of those drawn."""
        design = self._design
        if design.grid:
            return design.planned()
        points = [] if design.space.reference is None else [design.space.reference]
        points += [trial.params for trial in attempts.values()]
        return [(p, seed) for p in points for seed in design.seeds] if self._room(attempts) else []

    def _draw(self, trials: Sequence[FrozenTrial], known: set[Any]) -> FrozenTrial | None:
        """A point that is new; None where the sampler finds none.

        Drawn from a copy in memory, so that a trial appears in the database whole.
        """
        directions = [direction.name.lower() for direction in self.study.directions]
        for again in range(REDRAWS):
            sampler = self._sampler(REDRAWS * len(trials) + again)
            copy = optuna.create_study(directions=directions, sampler=sampler)
            copy.add_trials(trials)
            trial = copy.ask(self._design.space.distributions)
            if key(trial.params) not in known:
                return copy.trials[-1]
        return None

    def _create(
        self,
        point: Point,
        seed: int,
        number: int = 0,
        *,
        before: FrozenTrial | None = None,
        like: FrozenTrial | None = None,
    ) -> Job:
        """Enter a training as this process's own; ``before`` is the trial that it continues."""
        attrs = {"seed": seed, "owner": owner.myself(), "sign": time.time()}
        attrs["folder"] = before.user_attrs["folder"] if before else f"trials/{number:04}"
        if before:
            attrs["continues"] = before.number
        template = create_trial(
            state=TrialState.RUNNING,
            params=dict(point),
            distributions=self._design.space.distributions,
            user_attrs=attrs,
            system_attrs=like.system_attrs if like else None,
            # What was told to the pruner before the interruption still holds.
            intermediate_values=before.intermediate_values if before else None,
        )
        trial_id = self._storage.create_new_trial(self._id, template)
        number = self._storage.get_trial(trial_id).number
        return Job(number, trial_id, dict(point), seed, attrs["folder"], attrs.get("continues"))


def latest(trials: Sequence[FrozenTrial]) -> dict[Any, FrozenTrial]:
    """The last attempt at each point with each seed, by both."""
    return {(key(trial.params), trial.user_attrs["seed"]): trial for trial in trials}


def interrupted(trial: FrozenTrial) -> bool:
    """Whether a trial is to be continued by another."""
    return trial.state == TrialState.FAIL and trial.user_attrs.get("interrupted", False)
