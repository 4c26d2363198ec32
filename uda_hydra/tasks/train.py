"""Train: every stage of a run in order, skipping what is finished, resuming what is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from uda_hydra import build
from uda_hydra.callbacks.mlflow import close_parent, open_parent
from uda_hydra.data.pair import Pair
from uda_hydra.engine.checkpoint import Checkpoints, digest, write_atomically
from uda_hydra.engine.events import Run
from uda_hydra.engine.interrupt import Interrupted
from uda_hydra.engine.lock import locked
from uda_hydra.engine.trainer import Trainer
from uda_hydra.errors import UserError
from uda_hydra.provenance import provenance
from uda_hydra.report import browse, comparison, summary
from uda_hydra.stages import Stage, identity, plan, settings

Result = dict[str, Any]


class Pairs:
    """The domain pairs that the stages read, each opened once."""

    def __init__(self) -> None:
        self._opened: list[tuple[tuple[DictConfig, ...], Pair]] = []

    def of(self, stage: Stage) -> Pair:
        """The pair of a stage's ``dataset``, shown and scored as its other groups say."""
        wanted = tuple(stage.config[key] for key in ("dataset", "augmentation", "evaluation"))
        for opened, pair in self._opened:
            if opened == wanted:
                return pair
        pair = build.pair(stage.config)
        self._opened.append((wanted, pair))
        return pair


def train(config: DictConfig, overrides: list[str], label: str) -> float:
    """Run all stages and print the outcome; returns the value of ``objective``."""
    stages = plan(config, overrides, label)
    for stage in stages:
        build.check(stage.config)
    top = stages[0].folder if len(stages) == 1 else stages[0].folder.parent
    results = {stage.name: finished(stage) for stage in stages}
    if None in results.values():
        first = next(stage for stage in stages if results[stage.name] is None)
        build.check_init(first.config)
        # Data that is not there must be known before anything is written.
        pairs = Pairs()
        pairs.of(first)
        with locked(top):
            results = _run_all(stages, top, pairs, overrides)
    else:
        print(f"{top} holds this run, finished; nothing to do")
    outcome = results[stages[-1].name]
    print(summary(outcome) if len(stages) == 1 else comparison(results))
    print(browse(top, config.tracking.uri if config.tracking.enabled else None))
    return outcome[config.objective]


def _run_all(
    stages: list[Stage], top: Path, pairs: Pairs, overrides: list[str]
) -> dict[str, Result]:
    """Each stage in turn; several of them are shown in MLflow as children of one run."""
    tracking = settings(stages[-1].config.tracking)
    parent = top if len(stages) > 1 and tracking.enabled else None
    if parent:
        open_parent(
            tracking.uri,
            tracking.experiment,
            top.name,
            parent,
            artifacts=Path(tracking.artifacts),
            config=OmegaConf.to_container(stages[-1].config, resolve=True),
            tags=provenance(overrides),
        )
    status, results = "failed", {}
    try:
        for stage in stages:
            results[stage.name] = finished(stage)
            if results[stage.name] is None:
                pair = pairs.of(stage)
                results[stage.name] = _run(stage, pair, parent, overrides, alone=len(stages) == 1)
        status = "finished"
    except (Interrupted, KeyboardInterrupt):
        status = "interrupted"
        raise
    finally:
        if parent:
            outcome = results[stages[-1].name] if status == "finished" else {}
            close_parent(parent, status, _scores(outcome))
    if len(stages) > 1:
        _write_json(top / "result.json", results[stages[-1].name])
    return results


def _run(
    stage: Stage, pair: Pair, parent: Path | None, overrides: list[str], *, alone: bool
) -> Result:
    """Train one stage from its beginning or from its last checkpoint."""
    folder = stage.folder
    _make_room(stage, alone=alone)
    pair.prepare()
    trainer = build.trainer(stage.config, pair, folder, build.callbacks(stage.config, parent))
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "identity.json", _identity(stage))
    text = OmegaConf.to_yaml(stage.config, resolve=True)
    write_atomically(folder / "config.yaml", lambda path: path.write_text(text))
    note = trainer.restore()
    print(f"{stage.name}: {note or 'beginning'}, in {folder}")
    facts = provenance(overrides) | {
        "dataset": pair.name,
        "dataset fingerprint": pair.fingerprint(),
        "seed": str(stage.config.seed),
        "stage": stage.name,
    }
    if pair.oracle:
        facts["oracle"] = "trained on target labels: an upper bound, not an adaptation"
    trainer.fit(
        Run(
            name=stage.name if alone else f"{folder.parent.name}/{stage.name}",
            folder=folder,
            steps=trainer.settings.steps,
            start=trainer.done,
            config=OmegaConf.to_container(stage.config, resolve=True),
            facts=facts,
        )
    )
    result = _result(trainer, facts)
    _write_json(folder / "result.json", result)
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


def _write_json(path: Path, values: dict[str, Any]) -> None:
    text = json.dumps(values, indent=1)
    write_atomically(path, lambda temporary: temporary.write_text(text + "\n"))
