"""Train: every stage of a run in order, skipping what is finished, resuming what is not."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from uda_hydra import build
from uda_hydra.config import plain, settings
from uda_hydra.data.labels import label_space
from uda_hydra.data.pair import Pair
from uda_hydra.engine.checkpoint import Checkpoints
from uda_hydra.engine.device import free_memory
from uda_hydra.engine.events import Callback, Run
from uda_hydra.engine.lock import locked
from uda_hydra.engine.trainer import Trainer
from uda_hydra.errors import (
    Stopped,
    Unfinished,
    UserError,
    explain,
    first_line,
    no_worker_left,
    print_error,
)
from uda_hydra.files import (
    masked,
    read_json,
    remove_leftovers,
    write_json,
    write_text,
)
from uda_hydra.provenance import provenance
from uda_hydra.published import Row, published, published_as
from uda_hydra.report import browse, comparison, summary
from uda_hydra.runs.checks import (
    available,
    check_init,
    check_labels,
    check_stages,
    check_statistics,
    check_table,
    outdated,
    reads,
)
from uda_hydra.runs.disk import kept_of
from uda_hydra.runs.identity import RECORD, fingerprints, record
from uda_hydra.runs.layout import RunLayout
from uda_hydra.runs.results import (
    RESULT,
    Result,
    archive_changed_stage,
    finished_result,
    write_result,
)
from uda_hydra.runs.stages import Stage, plan
from uda_hydra.studies.pruning import pruning_of_trial
from uda_hydra.tracking.mlflow import close_parent, open_parent

FAILURES = (UserError, OSError, RuntimeError, ValueError)
"""What may end one training of a table without ending those that do not need it."""


def train(config: DictConfig, overrides: list[str]) -> float | list[float]:
    """Run all stages and print the outcome; returns the value of ``objective``, or of several.

    With ``table`` the outcome is the table over all seeds, however far this one comes.
    """
    stages, skipped = available(plan(config, overrides), config.optional)
    for name, reason in skipped.items():
        print(f"{name} is skipped: {reason}")
    layout = RunLayout(stages)
    check_table(config.table, layout)
    layout.check()
    check_stages(stages)
    if config.table is None:
        results = train_stages(stages, layout, overrides)
        rows = [row for stage in stages for row in _published(stage, results[stage.name])]
        rows = [*dict.fromkeys(rows)]
        print(comparison(results, rows) if layout.grouped else summary(*results.values(), rows))
    else:
        # Late: statistics take a second to import.
        from uda_hydra.table.keep import kept

        lists, controls = config.stages, config.controls
        with kept(Path(config.table), stages, lists=lists, controls=controls, skipped=skipped):
            results = train_stages(stages, layout, overrides)
    print(browse(layout.top, config.tracking.uri if config.tracking.enabled else None))
    outcome = results[stages[-1].name]
    if isinstance(config.objective, str):
        return _score(outcome, config.objective)
    return [_score(outcome, name) for name in config.objective]


def train_stages(stages: list[Stage], layout: RunLayout, overrides: list[str]) -> dict[str, Result]:
    """Every stage's result, by training what is not finished; the last one's is the run's."""
    open_pair = build.pair_opener()
    results = {stage.name: finished_result(stage, open_pair) for stage in stages}
    if None in results.values():
        unfinished = [stage for stage in stages if results[stage.name] is None]
        for stage in unfinished:
            check_init(stage.config)
        # Data that is not there must be known before anything is written.
        for stage in unfinished:
            pair = open_pair(stage.config)
            check_statistics(pair)
            check_labels(pair)
        # Another process may still be at work on a trial that was thought to be dead.
        with locked(layout.top, wait=layout.study is not None):
            layout.mark()
            if stages[-1] in outdated(stages, results):
                (layout.top / RESULT).unlink(missing_ok=True)
            with parent_run(stages[-1], layout, overrides) as outcome:
                results = _train_in_turn(stages, layout, open_pair, overrides)
                outcome |= results[stages[-1].name]
                write_json(layout.top / RESULT, outcome)
    else:
        print(f"{layout.top} holds this run, finished; nothing to do")
        remove_leftovers(layout.top)
    if read_json(layout.top / RESULT) != results[stages[-1].name]:
        write_json(layout.top / RESULT, results[stages[-1].name])
    return results


@contextmanager
def parent_run(last: Stage, layout: RunLayout, overrides: list[str]) -> Iterator[Result]:
    """While entered, MLflow shows what is trained below a run of its own, if it has stages.

    The result of the ``last`` stage is to be put into the mapping that is yielded.
    """
    tracking = settings(last.config.tracking)
    outcome: Result = {}
    if not (layout.grouped and tracking.enabled):
        yield outcome
        return
    open_parent(
        tracking.uri,
        tracking.experiment,
        layout.name,
        layout.top,
        artifacts=Path(tracking.artifacts),
        config=plain(last.config),
        tags=provenance(overrides) | layout.tags(),
        parent=layout.study,
    )
    status = "failed"
    try:
        yield outcome
        status = "finished"
    except Stopped as stop:
        status = stop.status
        raise
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    finally:
        scores = {key: value for key, value in outcome.items() if isinstance(value, float)}
        close_parent(layout.top, status, scores)


def _train_in_turn(
    stages: list[Stage],
    layout: RunLayout,
    open_pair: Callable[[DictConfig], Pair],
    overrides: list[str],
) -> dict[str, Result]:
    """Each stage in turn. A stage of a table that fails only stops those that read its files.

    Raises Unfinished in the end if there were such.
    """
    results: dict[str, Result] = {}
    failed: dict[str, str] = {}
    for stage in stages:
        if missing := reads(stage, stages, failed):
            failed[stage.name] = f"needs {missing[0]}"
            continue
        try:
            with no_worker_left(), layout.held(stage):
                found = finished_result(stage, open_pair)
                if found is None:
                    # That of the stage before, which may have failed.
                    free_memory()
                    found = train_stage(stage, layout, open_pair(stage.config), overrides)
                    keep = kept_of(stage, stages, stage.config.trainer.keep)
                    Checkpoints(stage.folder).thin_out(keep)
                results[stage.name] = found
        except FAILURES as error:
            if stage.config.table is None:
                raise
            message = explain(error)
            failed[stage.name] = message or first_line(error)
            print_error(f"{stage.name} failed: {failed[stage.name]}")
            if message is None:
                print_error("".join(traceback.format_exception(error)))
    if failed:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise Unfinished(
            f"{len(failed)} of {len(stages)} trainings in {layout.top} failed. The others are "
            f"done, and the same command tries these again: {reasons}"
        )
    return results


def train_stage(stage: Stage, layout: RunLayout, pair: Pair, overrides: list[str]) -> Result:
    """Train one stage from its first step or from its last checkpoint; returns its result."""
    folder = stage.folder
    archive_changed_stage(stage, pair)
    identity = record(stage.config, fingerprints(pair, stage.config.fingerprint))
    pair.prepare()
    trainer = build.trainer(stage.config, pair, folder, _callbacks(stage, layout))
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RECORD, identity)
    write_text(folder / "config.yaml", OmegaConf.to_yaml(masked(plain(stage.config))))
    trainer.prepare()
    note = trainer.restore()
    start = "starting" if stage.config.init else "starting with random weights"
    print(f"{stage.name}: {note or start}, in {folder}")
    facts = _facts(stage, pair, overrides)
    result: Result = {}

    def finish() -> None:
        values = _result(trainer, facts)
        values["published"] = [asdict(row) for row in _published(stage, values)]
        result.update(write_result(folder, values, identity))

    trainer.fit(
        Run(
            name=layout.name_of(stage),
            folder=folder,
            steps=trainer.settings.steps,
            start=trainer.done,
            config=plain(stage.config),
            facts=facts,
        ),
        finish,
    )
    return result


def _callbacks(stage: Stage, layout: RunLayout) -> list[Callback]:
    """Those of the config; the study's pruner, which may end the training, comes last."""
    callbacks = build.callbacks(stage.config, layout.parent(stage), layout.tags(stage))
    if layout.pruned(stage):
        callbacks.append(pruning_of_trial(layout.study, stage.config.trial.number))
    return callbacks


def _facts(stage: Stage, pair: Pair, overrides: list[str]) -> dict[str, str]:
    """What is kept with the scores of a stage."""
    data = fingerprints(pair, stage.config.fingerprint)
    facts = provenance(overrides) | {
        "dataset": pair.name,
        "dataset fingerprint": "; ".join(f"{part}: {value}" for part, value in data.items()),
        "seed": str(stage.config.seed),
        "stage": stage.name,
    }
    if pair.oracle:
        facts["oracle"] = "trained on target labels: an upper bound, not an adaptation"
    return facts


def _result(trainer: Trainer, facts: dict[str, str]) -> Result:
    """Final scores, and what produced them."""
    return {
        **trainer.last.result(),
        "miou/best": trainer.best,
        "miou/best_step": trainer.best_step,
        "miou/best_is": "selected on target labels; miou/last is not",
        "scored": next(iter(trainer.method.scored(trainer.protocol.network))),
        **trainer.further,
        **trainer.label_free,
        **({"zero_terms": trainer.watch.zero_terms} if trainer.watch.zero_terms else {}),
        "steps": trainer.done,
        **trainer.cost.total(),
        **facts,
    }


def _published(stage: Stage, result: Result) -> list[Row]:
    """What is known of the stage's method on its data."""
    space = label_space(stage.config.dataset.classes)
    return published(published_as(stage.config), result["dataset"], space.name)


def _score(result: Result, name: str) -> float:
    """One score of a finished stage; UserError where it is not defined."""
    if result[name] is None:
        raise UserError(f"objective={name} is not defined: the validation labels lack the class")
    return result[name]
