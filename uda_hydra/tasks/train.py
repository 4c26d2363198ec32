"""Train: every stage of a run in order, skipping what is finished, resuming what is not."""

from __future__ import annotations

import json
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from uda_hydra import build
from uda_hydra.config import settings
from uda_hydra.data.pair import Pair
from uda_hydra.engine.checkpoint import Checkpoints
from uda_hydra.engine.events import Run
from uda_hydra.engine.lock import locked
from uda_hydra.engine.trainer import Trainer
from uda_hydra.errors import Stopped, Unfinished, UserError
from uda_hydra.files import digest, flat, write_json, write_text
from uda_hydra.provenance import provenance
from uda_hydra.published import Row, published
from uda_hydra.report import browse, comparison, summary
from uda_hydra.runs.identity import identity
from uda_hydra.runs.layout import Place
from uda_hydra.runs.stages import Stage, plan
from uda_hydra.table import kinds, write
from uda_hydra.tracking.mlflow import close_parent, open_parent

Result = dict[str, Any]

FAILURES = (UserError, OSError, RuntimeError, ValueError)
"""What may end one training of a table without ending those that do not need it."""


class Pairs:
    """The domain pairs that the stages read, each opened once."""

    def __init__(self) -> None:
        self._opened: list[tuple[tuple[DictConfig, ...], Pair]] = []

    def of(self, stage: Stage) -> Pair:
        """The pair of a stage's ``dataset``, shown and scored as its other groups say."""
        wanted = tuple(
            stage.config[key] for key in ("dataset", "augmentation", "sampler", "evaluation")
        )
        for opened, pair in self._opened:
            if opened == wanted:
                return pair
        pair = build.pair(stage.config)
        self._opened.append((wanted, pair))
        return pair


def train(config: DictConfig, overrides: list[str], label: str) -> float | list[float]:
    """Run all stages and print the outcome; returns the value of ``objective``, or of several.

    With ``table`` the outcome is the table over all seeds, however far this one comes.
    """
    stages = plan(config, overrides, label)
    _check_table(config.table, stages)
    if config.table is None:
        results = _train(stages, overrides)
        rows = [row for stage in stages for row in _published(stage, results[stage.name])]
        rows = [*dict.fromkeys(rows)]
        one = len(stages) == 1
        print(summary(results[stages[0].name], rows) if one else comparison(results, rows))
    else:
        try:
            results = _train(stages, overrides)
        finally:
            print(write(Path(config.table), kinds(stages, config.stages)), end="")
    print(browse(Place(stages).top, config.tracking.uri if config.tracking.enabled else None))
    outcome = results[stages[-1].name]
    one = isinstance(config.objective, str)
    names = [config.objective] if one else config.objective
    values = [_score(outcome, name, stages[-1]) for name in names]
    return values[0] if one else values


def _score(result: Result, name: str, stage: Stage) -> float:
    """One score of a finished stage, which an earlier version may not have computed."""
    if name not in result:
        raise UserError(
            f"objective={name} is not in {stage.folder / 'result.json'}, which an earlier version "
            "has written; choose another output=..., or move this run away"
        )
    return result[name]


def _check_table(table: str | None, stages: list[Stage]) -> None:
    """The runs of a table lie in its folder, and have stages."""
    if table is not None and (len(stages) == 1 or Place(stages).top.parent != Path(table)):
        raise UserError(
            f"table={table} needs a run of several stages whose output lies in that folder; "
            "see conf/experiment/streets_table.yaml, or leave out table"
        )


def _train(stages: list[Stage], overrides: list[str]) -> dict[str, Result]:
    """Every stage's result, by training what is not finished."""
    for stage in stages:
        build.check(stage.config)
    place = Place(stages)
    results = {stage.name: finished(stage) for stage in stages}
    if None in results.values():
        first = next(stage for stage in stages if results[stage.name] is None)
        build.check_init(first.config)
        # Data that is not there must be known before anything is written.
        pairs = Pairs()
        pairs.of(first)
        # Another process may still be at work on a trial that was thought to be dead.
        with locked(place.top, wait=place.study is not None):
            return _run_all(stages, place, pairs, overrides)
    print(f"{place.top} holds this run, finished; nothing to do")
    return results


def _published(stage: Stage, result: Result) -> list[Row]:
    """What is known of the stage's method on its data."""
    return published(build.published_as(stage.config), result["dataset"])


def _run_all(
    stages: list[Stage], place: Place, pairs: Pairs, overrides: list[str]
) -> dict[str, Result]:
    """Each stage in turn; several of them are shown in MLflow as children of one run."""
    tracking = settings(stages[-1].config.tracking)
    parent = place.top if len(stages) > 1 and tracking.enabled else None
    if parent:
        open_parent(
            tracking.uri,
            tracking.experiment,
            place.name(place.top.name),
            parent,
            artifacts=Path(tracking.artifacts),
            config=OmegaConf.to_container(stages[-1].config, resolve=True),
            tags=provenance(overrides) | place.tags(),
            parent=place.study,
        )
    status, results = "failed", {}
    try:
        results = _each(stages, pairs, place, overrides)
        status = "finished"
    except (Stopped, KeyboardInterrupt):
        status = "interrupted"
        raise
    finally:
        if parent:
            outcome = results[stages[-1].name] if status == "finished" else {}
            close_parent(parent, status, _scores(outcome))
    if len(stages) > 1:
        write_json(place.top / "result.json", results[stages[-1].name])
    return results


def _each(
    stages: list[Stage], pairs: Pairs, place: Place, overrides: list[str]
) -> dict[str, Result]:
    """Each stage in turn. A stage of a table that fails only stops those that need its files.

    Raises Unfinished in the end if there were such.
    """
    results: dict[str, Result] = {}
    failed: dict[str, str] = {}
    for stage in stages:
        needed = [other for other in stages if other.name in failed and _needs(stage, other.folder)]
        if needed:
            failed[stage.name] = f"needs {needed[0].name}"
            continue
        try:
            with place.held(stage):
                alone = len(stages) == 1
                results[stage.name] = finished(stage) or _run(
                    stage, pairs.of(stage), place, overrides, alone=alone
                )
        except FAILURES as error:
            if stage.config.table is None:
                raise
            failed[stage.name] = str(error)
            print(f"{stage.name} failed: {error}", file=sys.stderr)
            if not isinstance(error, UserError | OSError):
                traceback.print_exception(error)
    if failed:
        told = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise Unfinished(
            f"{len(failed)} of {len(stages)} trainings in {place.top} failed. The others are "
            f"done, and the same command tries these again: {told}"
        )
    return results


def _needs(stage: Stage, folder: Path) -> bool:
    """Whether a value of the stage's config is a file in ``folder``."""
    values = flat(OmegaConf.to_container(stage.config, resolve=True)).values()
    return any(isinstance(v, str) and Path(v).is_relative_to(folder) for v in values)


def _run(stage: Stage, pair: Pair, place: Place, overrides: list[str], *, alone: bool) -> Result:
    """Train one stage from its beginning or from its last checkpoint."""
    folder = stage.folder
    _make_room(stage, alone=alone)
    pair.prepare()
    trainer = build.trainer(stage.config, pair, folder, place.watchers(stage))
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "identity.json", _identity(stage))
    text = OmegaConf.to_yaml(stage.config, resolve=True)
    write_text(folder / "config.yaml", text)
    note = trainer.restore()
    print(f"{stage.name}: {note or 'beginning'}, in {folder}")
    facts = provenance(overrides) | {
        "dataset": pair.name,
        "dataset fingerprint": pair.fingerprint(),
        "seed": str(stage.config.seed),
        "stage": stage.name,
    }
    facts |= place.tags() if alone else {}
    if pair.oracle:
        facts["oracle"] = "trained on target labels: an upper bound, not an adaptation"
    trainer.fit(
        Run(
            name=place.name(stage.name) if alone else f"{folder.parent.name}/{stage.name}",
            folder=folder,
            steps=trainer.settings.steps,
            start=trainer.done,
            config=OmegaConf.to_container(stage.config, resolve=True),
            facts=facts,
        )
    )
    rows = published(build.published_as(stage.config), pair.name)
    result = _result(trainer, facts) | {"published": [asdict(row) for row in rows]}
    write_json(folder / "result.json", result)
    return result


def finished(stage: Stage) -> Result | None:
    """The result of a stage that has run to its end with this very config, else None."""
    path = stage.folder / "result.json"
    if not path.is_file() or _changes(stage):
        return None
    checkpoints = Checkpoints(stage.folder)
    return json.loads(path.read_text()) if checkpoints.intact(checkpoints.last) else None


def _identity(stage: Stage) -> dict[str, Any]:
    """What decides the stage's numbers: its config and the weights it begins with."""
    init = stage.config.init
    # The content counts, wherever the file lies.
    content = digest(Path(init)) if init is not None and Path(init).is_file() else None
    return identity(stage.config) | {"init": content}


def _changes(stage: Stage) -> list[str]:
    """What differs between the stage and the one whose files are in its folder."""
    path = stage.folder / "identity.json"
    if not path.is_file():
        return []
    old, new = json.loads(path.read_text()), _identity(stage)
    keys = [key for key in sorted(old | new) if old.get(key) != new.get(key)]
    return [f"{key}: {old.get(key)} -> {new.get(key)}" for key in keys]


def _make_room(stage: Stage, *, alone: bool) -> None:
    """Nothing computed is lost: what was trained with another config moves aside."""
    changes = _changes(stage)
    if not changes:
        return
    if alone:
        raise UserError(
            f"{stage.folder} holds a run with other values ({'; '.join(changes)}). "
            "Choose another folder with output=..., or move this one away."
        )
    taken = len([*stage.folder.parent.glob(f"{stage.folder.name}.before-*")])
    aside = stage.folder.with_name(f"{stage.folder.name}.before-{taken + 1}")
    stage.folder.rename(aside)
    print(f"{stage.name}: begins anew, for {'; '.join(changes)}; the former one is in {aside}")


def _result(trainer: Trainer, facts: dict[str, str]) -> Result:
    """Final scores, and what produced them."""
    means = trainer.last.metrics()
    return {
        "miou/last": means.pop("miou"),
        "miou/best": trainer.best,
        "miou/best_step": trainer.best_step,
        "miou/best_is": "selected on target labels; miou/last is not",
        **means,
        **trainer.last.per_class(),
        **trainer.label_free,
        "steps": trainer.done,
        **trainer.cost.total(),
        **facts,
    }


def _scores(result: Result) -> dict[str, float]:
    return {key: value for key, value in result.items() if isinstance(value, float)}
