"""What a study is, in a few facts: before it begins, and for ``hydra.sweeper.dry_run=true``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from uda_hydra.errors import UserError
from uda_hydra.files import shown_value
from uda_hydra.runs.results import RESULT
from uda_hydra.runs.stages import Stage
from uda_hydra.studies import storage
from uda_hydra.studies.disk import describe_space
from uda_hydra.studies.load import load_study
from uda_hydra.studies.queue import Job
from uda_hydra.studies.records import Trial
from uda_hydra.studies.report.findings import count
from uda_hydra.studies.space import point_key
from uda_hydra.studies.spec import StudySpec


def known_trials(spec: StudySpec) -> tuple[Trial, ...]:
    """The trials that the study has had so far; none before it has begun."""
    if spec.options.storage is None and not (spec.folder / storage.FILE).is_file():
        return ()
    try:
        return load_study(spec.folder, spec.options.storage).trials
    except UserError:
        # A database that does not hold the study yet.
        return ()


def overview(
    spec: StudySpec, plans: Sequence[Sequence[Stage]], trials: Sequence[Trial]
) -> list[tuple[str, str]]:
    """Question, points, seeds, what is done, shared starts, reference and the time left, by name.

    ``plans`` are the stages of the trainings that can be known.
    """
    space, seeds = spec.design.space, spec.design.seeds
    points = count(spec.design.total / len(seeds), "point") if space.written else "no swept key"
    size = f"{points} x {count(len(seeds), 'seed')} ({', '.join(map(str, seeds))})"
    total = spec.design.total
    facts = [
        ("study", spec.folder.name),
        ("question", spec.question if spec.choices.get("sweep") else ""),
        *space.written.items(),
        ("reference", _reference(spec)),
        ("trainings", f"{size} = {total}: {_states(spec, trials)}"),
        ("shared starts", _starts(spec, plans)),
        ("time", _time_left(spec, trials)),
        ("disk", describe_space(plans, trainings=total, seeds=len(seeds), folder=spec.folder)),
        ("folder", str(spec.folder)),
    ]
    return [(name, text) for name, text in facts if text]


def trainings(spec: StudySpec, trials: Sequence[Trial]) -> list[tuple[str, str]]:
    """Every training of a grid and its state; of drawn points there are none yet."""
    states = _latest(spec, trials)
    planned = spec.design.planned() if spec.design.grid else []
    return [
        (
            spec.describe(Job(0, 0, point, seed, "", None)),
            states.get((point_key(point), seed), "waiting"),
        )
        for point, seed in planned
    ]


def _latest(spec: StudySpec, trials: Sequence[Trial]) -> dict[object, str]:
    """The state of the last attempt at each point with each of the seeds that are asked for."""
    asked = [trial for trial in trials if trial.seed in spec.design.seeds]
    return {(point_key(trial.params), trial.seed): trial.state for trial in asked}


def _states(spec: StudySpec, trials: Sequence[Trial]) -> str:
    found = Counter(_latest(spec, trials).values())
    found["waiting"] = max(0, spec.design.total - sum(found.values()) + found["waiting"])
    return ", ".join(f"{number} {state}" for state, number in found.items() if number)


def _reference(spec: StudySpec) -> str:
    point = spec.design.space.reference
    if point is None:
        return "none (hydra.sweeper.reference=true adds the values of the config as a point)"
    shown = ", ".join(f"{name}={shown_value(value)}" for name, value in point.items())
    return shown or "the config as it is"


def _starts(spec: StudySpec, plans: Sequence[Sequence[Stage]]) -> str:
    """How many stages several trainings share, and how many are trained; "" without such."""
    folders = {stage.folder for stages in plans for stage in stages[:-1]}
    done = sum((folder / RESULT).is_file() for folder in folders)
    if not folders:
        return ""
    each = "" if spec.config.start.seed is not None or len(spec.design.seeds) == 1 else " per seed"
    return f"{len(folders)}{each}, {done} done"


def _time_left(spec: StudySpec, trials: Sequence[Trial]) -> str:
    """Hours by the mean of the finished trainings; "" if none has finished."""
    known = [trial.result["seconds"] for trial in trials if "seconds" in trial.result]
    if not known:
        return ""
    mean = sum(known) / len(known)
    states = _latest(spec, trials).values()
    done = sum(state in ("complete", "pruned", "failed") for state in states)
    left = max(0, spec.design.total - done)
    return f"about {left * mean / 3600:.2g} h to train, {mean / 60:.2g} min each, without starts"
