"""A study as plain values, from its database and the folders of its trials."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from uda_hydra.errors import UserError
from uda_hydra.studies import owner, storage
from uda_hydra.studies.queue import interrupted
from uda_hydra.studies.records import Study, Trial
from uda_hydra.studies.space import key

STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.FAIL: "failed",
    TrialState.PRUNED: "pruned",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def load(folder: Path, url: str | None = None) -> Study:
    """The study of a folder as it is now; UserError if there is none.

    ``url`` is ``hydra.sweeper.storage``; None for the file in the folder.
    """
    if url is None and not (folder / storage.FILE).is_file():
        raise UserError(f"there is no study in {folder}; run the same command without task=report")
    database = storage.opened(storage.url_of(folder, url))
    try:
        where = optuna.storages.get_storage(database)
        return described(optuna.load_study(study_name=folder.name, storage=where), folder)
    except KeyError:
        raise UserError(
            f"there is no study {folder.name} in {storage.shown(str(url))}; "
            "run the same command without task=report"
        ) from None
    finally:
        database.remove_session()
        database.engine.dispose()


def described(study: optuna.Study, folder: Path) -> Study:
    """An open study as plain values, what it still waits for included."""
    about = study.user_attrs
    trials = study.get_trials(deepcopy=False)
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
        reference=about["reference"],
        seeds=tuple(sorted({*about["seeds"], *(trial.seed for trial in known)})),
        trials=(*known, *_waiting(about["planned"], known, folder)),
        facts=about["facts"],
    )


def _trial(trial: FrozenTrial, folder: Path, follower: int | None) -> Trial:
    attrs = trial.user_attrs
    complete = trial.state == TrialState.COMPLETE
    state, note = STATES[trial.state], attrs.get("note", "")
    if state == "running" and not owner.alive(attrs.get("owner"), attrs.get("sign", 0.0)):
        state, note = "waiting", "killed; the sweep's command goes on with it"
    if interrupted(trial) and follower is not None:
        note = f"{note}, continued as trial {follower}"
    return Trial(
        number=trial.number,
        state=state,
        params={name: _bare(value) for name, value in trial.params.items()},
        seed=attrs["seed"],
        folder=folder / attrs["folder"],
        values=tuple(trial.values) if complete else (),
        result=_result(folder / attrs["folder"]) if complete else {},
        note=note,
    )


def _bare(value: Any) -> Any:
    """Without the quotes that Hydra's grammar wants."""
    quoted = isinstance(value, str) and len(value) > 1 and value[0] == value[-1] in ("'", '"')
    return value[1:-1] if quoted else value


def _result(folder: Path) -> dict[str, Any]:
    path = folder / "result.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def _waiting(planned: list[Any], known: list[Trial], folder: Path) -> list[Trial]:
    """The trainings of a grid that nobody has begun."""
    begun = {(key(trial.params), trial.seed) for trial in known}
    missing = [(p, seed) for p, seed in planned if (key(p), seed) not in begun]
    return [
        Trial(number, "waiting", point, seed, folder / f"trials/{number:04}")
        for number, (point, seed) in enumerate(missing, start=len(known))
    ]
