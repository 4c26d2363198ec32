"""Loads a study as plain values, from its database and the folders of its trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from uda_hydra.errors import UserError
from uda_hydra.files import mask, read_json
from uda_hydra.runs.results import RESULT
from uda_hydra.studies import liveness, storage
from uda_hydra.studies.queue import is_interrupted, own_trials
from uda_hydra.studies.records import Point, Study, Trial, bare
from uda_hydra.studies.space import point_key

STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.FAIL: "failed",
    TrialState.PRUNED: "pruned",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def load_study(folder: Path, url: str | None = None) -> Study:
    """The study of a folder as it is now; UserError if there is none.

    ``url`` is ``hydra.sweeper.storage``; None for the file in the folder.
    """
    where = storage.url_of(folder, url)
    if url is None and not (folder / storage.FILE).is_file():
        raise UserError(_absent(folder, url))
    database = storage.open_database(where)
    try:
        with storage.readable(where):
            try:
                database.get_study_id_from_name(folder.name)
            except KeyError:
                raise UserError(_absent(folder, url)) from None
            cached = optuna.storages.get_storage(database)
            return read_study(optuna.load_study(study_name=folder.name, storage=cached), folder)
    finally:
        database.remove_session()
        database.engine.dispose()


def _absent(folder: Path, url: str | None) -> str:
    where = f"in {folder}" if url is None else f"{folder.name} in {mask(url)}"
    return f"there is no study {where}; the command of a sweep, without task=..., makes one"


def read_study(study: optuna.Study, folder: Path) -> Study:
    """An open study as plain values, trainings that have not begun included."""
    about = study.user_attrs
    trials = own_trials(study)
    followers = {t.user_attrs["continues"]: t.number for t in trials if "continues" in t.user_attrs}
    known = [_trial(t, folder, followers.get(t.number)) for t in trials]
    return Study(
        name=folder.name,
        folder=folder,
        question=about["question"],
        command=about["command"],
        objectives=tuple(about["objectives"]),
        directions=tuple(direction.name.lower() for direction in study.directions),
        space=about["space"],
        reference=_bare(about["reference"]),
        seeds=tuple(sorted({*about["seeds"], *(trial.seed for trial in known)})),
        trials=(*known, *_waiting(about["planned"], known, folder)),
        facts=about["facts"],
    )


def _trial(trial: FrozenTrial, folder: Path, follower: int | None) -> Trial:
    attrs = trial.user_attrs
    complete = trial.state == TrialState.COMPLETE
    state, note = STATES[trial.state], attrs.get("note", "")
    if state == "running" and not liveness.is_alive(
        attrs.get("owner"), attrs.get("heartbeat", 0.0)
    ):
        state, note = "waiting", "killed; the command of the sweep resumes it"
    if is_interrupted(trial):
        state = "interrupted"
    elif state == "failed" and follower is not None:
        state = "retried"
    note += f", continued as trial {follower}" if follower is not None else ""
    result = (read_json(folder / attrs["folder"] / RESULT) or {}) if complete else {}
    if complete and not result:
        note = note or "result.json is missing or damaged"
    return Trial(
        number=trial.number,
        state=state,
        params=_bare(trial.params),
        seed=attrs["seed"],
        folder=folder / attrs["folder"],
        values=tuple(trial.values) if complete else (),
        result=result,
        note=note,
    )


def _bare(point: Point) -> Point:
    """A point as the config has it: without the quotes of the command line."""
    return {name: bare(value) for name, value in point.items()}


def _waiting(planned: list[Any], known: list[Trial], folder: Path) -> list[Trial]:
    """The trainings of a grid that no process has begun."""
    begun = {(point_key(trial.params), trial.seed) for trial in known}
    missing = [(p, seed) for p, seed in planned if (point_key(p), seed) not in begun]
    return [
        Trial(number, "waiting", _bare(point), seed, folder / f"trials/{number:04}")
        for number, (point, seed) in enumerate(missing, start=len(known))
    ]
