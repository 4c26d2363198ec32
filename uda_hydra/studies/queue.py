"""The trials of a study: which are left, which process runs them, and how they ended."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from uda_hydra.errors import UserError
from uda_hydra.studies import liveness, storage
from uda_hydra.studies.records import Point
from uda_hydra.studies.space import Space, draw_by_chance, point_key

log = logging.getLogger(__name__)
Sampler = Callable[[int], optuna.samplers.BaseSampler]
"""Makes a sampler from a seed; a draw depends on the seed and the trials so far, nothing else."""
REDRAWS = 20
"""Attempts of the sampler to draw a point that was not drawn before; then chance draws one."""


@dataclass(frozen=True)
class Design:
    """The trainings that a study consists of."""

    space: Space
    seeds: tuple[int, ...]
    grid: bool
    total: int
    """The number of trainings, each of a point with a seed."""
    retry_failed: bool
    max_hours: float | None = None
    """Of training, after which no training begins."""

    def planned(self) -> list[tuple[Point, int]]:
        """All points and seeds of a grid; the reference with every seed comes first."""
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
    """Relative to the study's folder; a continued trial keeps its folder."""
    continues: int | None


class TrialQueue:
    """A study in its database, which several processes share under one lock."""

    def __init__(
        self, folder: Path, url: str, *, directions: Sequence[str], design: Design, sampler: Sampler
    ) -> None:
        self._folder, self._url = folder, url
        self._design, self._sampler = design, sampler
        with storage.exclusive(folder, url), storage.readable(url):
            self._backend = storage.open_database(url)
            self._storage = optuna.storages.get_storage(self._backend)
            self.study = optuna.create_study(
                study_name=folder.name,
                storage=self._storage,
                directions=[*directions],
                load_if_exists=True,
            )
            self._id = self._storage.get_study_id_from_name(folder.name)
            self._failed = {t.number for t in self.trials() if t.state == TrialState.FAIL}
        self._mine: set[int] = set()

    def trials(self) -> list[FrozenTrial]:
        """All trials of all processes, as they are now."""
        return own_trials(self.study)

    def _next_number(self) -> int:
        return max((trial.number + 1 for trial in self.trials()), default=0)

    def describe(self, facts: dict[str, Any]) -> None:
        """Store what the report needs to know besides the trials.

        Raises UserError if the folder holds a study of another ``recipe``.
        """
        with storage.exclusive(self._folder, self._url), storage.readable(self._url):
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
        """Up to ``count`` trainings to run next: first those that were interrupted."""
        return storage.insist(lambda: self._take(count), waits=())

    def _take(self, count: int) -> list[Job]:
        with storage.exclusive(self._folder, self._url):
            self._reclaim_dead_trials()
            jobs: list[Job] = []
            if self.is_out_of_time():
                return jobs
            while len(jobs) < count and (job := self._next()) is not None:
                jobs.append(job)
            self._mine.update(job.trial_id for job in jobs)
            return jobs

    def is_out_of_time(self) -> bool:
        """Whether trainings are left that ``max_hours`` no longer allows."""
        limit = self._design.max_hours
        if limit is None or hours_of(self.trials()) < limit:
            return False
        attempts = self._attempts(self.trials())
        if any(self._is_to_continue(trial) for trial in attempts.values()):
            return True
        if not self._design.grid:
            return self._has_room(attempts)
        return any((point_key(p), seed) not in attempts for p, seed in self._design.planned())

    def record(
        self, job: Job, state: TrialState, values: Sequence[float] | None, note: str
    ) -> bool:
        """Record how a job ended; False if another process took it over meanwhile."""
        try:
            return storage.insist(lambda: self._record(job, state, values, note))
        finally:
            self._mine.discard(job.trial_id)

    def _record(
        self, job: Job, state: TrialState, values: Sequence[float] | None, note: str
    ) -> bool:
        known = self._backend.get_trial(job.trial_id)
        if known.state.is_finished():
            # An attempt before whose answer was lost has recorded it, if nobody took it over.
            return not is_interrupted(known)
        try:
            self._storage.set_trial_user_attr(job.trial_id, "heartbeat", time.time())
            if note:
                self._storage.set_trial_user_attr(job.trial_id, "note", note)
            self.study.tell(job.number, values=values, state=state)
        except RuntimeError:  # Optuna's error for a trial that is finished
            return False
        return True

    def interrupt(self, job: Job, note: str) -> None:
        """Record that a job has stopped and is to be continued."""
        with contextlib.suppress(RuntimeError):
            self._storage.set_trial_user_attr(job.trial_id, "interrupted", True)
        self.record(job, TrialState.FAIL, None, note)

    def failed(self) -> list[str]:
        """Why the trials failed that no other trial continues."""
        found = latest_attempts(self.trials()).values()
        lost = [t for t in found if t.state == TrialState.FAIL and not is_interrupted(t)]
        return [trial.user_attrs.get("note", "no reason is known") for trial in lost]

    def send_heartbeat(self) -> None:
        """Show other machines that this process works on its trials."""
        for trial_id in [*self._mine]:
            # A trial that has just finished refuses, and needs no heartbeat.
            with contextlib.suppress(RuntimeError):
                self._backend.set_trial_user_attr(trial_id, "heartbeat", time.time())

    def _reclaim_dead_trials(self) -> None:
        """Mark the trials of killed processes as failed, to be continued."""
        for trial in self.trials():
            attrs = trial.user_attrs
            if trial.state == TrialState.RUNNING and not liveness.is_alive(
                attrs.get("owner"), attrs.get("heartbeat", 0.0)
            ):
                # A machine that was silent for long may record its trial meanwhile.
                with contextlib.suppress(RuntimeError):
                    self._storage.set_trial_user_attr(trial._trial_id, "interrupted", True)
                    self._storage.set_trial_user_attr(trial._trial_id, "note", "interrupted")
                    self.study.tell(trial.number, state=TrialState.FAIL)

    def _next(self) -> Job | None:
        trials = self.trials()
        attempts = self._attempts(trials)
        for trial in sorted(attempts.values(), key=lambda t: t.number):
            if self._is_to_continue(trial):
                return self._create(trial.params, trial.user_attrs["seed"], before=trial)
        for point, seed in self._planned(attempts):
            if (point_key(point), seed) not in attempts:
                return self._create(point, seed, number=self._next_number())
        if self._design.grid or not self._has_room(attempts):
            return None
        drawn = self._draw(trials, {point for point, _ in attempts})
        return drawn and self._create(
            drawn.params, self._design.seeds[0], self._next_number(), like=drawn
        )

    def _attempts(self, trials: Sequence[FrozenTrial]) -> dict[Any, FrozenTrial]:
        """The last attempt at each point with each of the seeds that are asked for."""
        latest, seeds = latest_attempts(trials), self._design.seeds
        return {key: trial for key, trial in latest.items() if trial.user_attrs["seed"] in seeds}

    def _has_room(self, attempts: dict[Any, FrozenTrial]) -> bool:
        return len(attempts) < self._design.total

    def _is_to_continue(self, trial: FrozenTrial) -> bool:
        """Whether a trial was interrupted, or has failed before this call and is to be retried."""
        failed = self._design.retry_failed and trial.number in self._failed
        return failed or is_interrupted(trial)

    def _planned(self, attempts: dict[Any, FrozenTrial]) -> list[tuple[Point, int]]:
        """The reference with every seed; then a grid's points, or every seed of those drawn."""
        design = self._design
        if design.grid:
            return design.planned()
        points = [] if design.space.reference is None else [design.space.reference]
        points += [trial.params for trial in attempts.values()]
        return (
            [(p, seed) for p in points for seed in design.seeds] if self._has_room(attempts) else []
        )

    def _draw(self, trials: Sequence[FrozenTrial], known: set[Any]) -> FrozenTrial | None:
        """A new point; None where the sampler finds none.

        It is drawn from a copy in memory, so that a trial appears in the database complete.
        """
        directions = [direction.name.lower() for direction in self.study.directions]
        for again in range(REDRAWS):
            sampler = self._sampler(REDRAWS * len(trials) + again)
            copy = optuna.create_study(directions=directions, sampler=sampler)
            copy.add_trials(trials)
            trial = copy.ask(self._design.space.distributions)
            if point_key(trial.params) not in known:
                return copy.trials[-1]
        found = draw_by_chance(self._design.space, known, seed=len(trials))
        if found is None:
            log.warning("no new point is left after %d trainings", len(trials))
        return found

    def _create(
        self,
        point: Point,
        seed: int,
        number: int = 0,
        *,
        before: FrozenTrial | None = None,
        like: FrozenTrial | None = None,
    ) -> Job:
        """Store a training as this process's own; ``before`` is the trial that it continues."""
        attrs = {"seed": seed, "owner": liveness.identify_process(), "heartbeat": time.time()}
        attrs["began"] = attrs["heartbeat"]
        attrs["folder"] = before.user_attrs["folder"] if before else f"trials/{number:04}"
        if before:
            attrs["continues"] = before.number
        template = create_trial(
            state=TrialState.RUNNING,
            params=dict(point),
            distributions=self._design.space.distributions,
            user_attrs=attrs,
            # What the sampler has drawn it as, and the pruner's rungs that it has passed.
            system_attrs=(like or before).system_attrs if like or before else None,
            # What was reported to the pruner before the interruption still holds.
            intermediate_values=before.intermediate_values if before else None,
        )
        trial_id = self._storage.create_new_trial(self._id, template)
        number = self._storage.get_trial(trial_id).number
        return Job(number, trial_id, dict(point), seed, attrs["folder"], attrs.get("continues"))


def own_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials of a study without those that another program has put there."""
    trials = study.get_trials(deepcopy=False)
    return [trial for trial in trials if {"seed", "folder"} <= trial.user_attrs.keys()]


def hours_of(trials: Sequence[FrozenTrial]) -> float:
    """Hours that the trainings have taken so far: of each until its end or its last heartbeat.

    Those that earlier versions have begun do not count.
    """
    attrs = [trial.user_attrs for trial in trials if "began" in trial.user_attrs]
    return sum(one["heartbeat"] - one["began"] for one in attrs) / 3600


def latest_attempts(trials: Sequence[FrozenTrial]) -> dict[Any, FrozenTrial]:
    """The last attempt at each point with each seed."""
    return {(point_key(trial.params), trial.user_attrs["seed"]): trial for trial in trials}


def is_interrupted(trial: FrozenTrial) -> bool:
    """Whether a trial is to be continued by another."""
    return trial.state == TrialState.FAIL and trial.user_attrs.get("interrupted", False)
