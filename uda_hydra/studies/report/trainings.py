"""What lies in the folders of a study's trainings: learning curves, baselines, runs in MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uda_hydra.files import is_finite, is_number, read_json
from uda_hydra.runs.identity import RECORD
from uda_hydra.runs.layout import held_by
from uda_hydra.runs.results import RESULT
from uda_hydra.studies.records import Study, Trial
from uda_hydra.studies.report.metrics import Metric
from uda_hydra.studies.report.statistics import Estimate, estimate
from uda_hydra.tracking.metric_log import METRICS, LoggedStep, read
from uda_hydra.tracking.record import RunRecord
from uda_hydra.tracking.sender import read_notes
from uda_hydra.tracking.view import pages_of


@dataclass(frozen=True)
class Baseline:
    """A model that the trainings of a study are measured against."""

    name: str
    folder: Path
    """Where one of its trainings lies."""
    results: tuple[Mapping[str, Any], ...]
    """``result.json`` of each of its seeds."""

    def mean(self, key: str) -> Estimate:
        """The mean of a metric, in shown units; of no value where there is none."""
        found = [result.get(key) for result in self.results]
        return estimate([value * Metric(key).scale for value in found if is_number(value)])


def stage_of(trial: Trial) -> Path:
    """The folder of a trial's own training; those before it may be shared."""
    held = held_by(trial.folder)
    return trial.folder / held.stages[-1] if held and held.stages else trial.folder


def evaluations(folder: Path, key: str) -> list[LoggedStep]:
    """The logged steps of a training that hold a metric; none where it was not tracked."""
    try:
        logged = read(folder / METRICS, 0).points
    except OSError:
        return []
    return [step for step in logged if is_finite(step.values.get(key))]


def learning_curve(trial: Trial, key: str) -> dict[int, float]:
    """A metric by step, in shown units, as far as its evaluations were logged."""
    steps = evaluations(stage_of(trial), key)
    return {one.step: Metric(key).scale * one.values[key] for one in steps}


def run_of(trial: Trial) -> str:
    """The address of a trial's run in MLflow; "" where it has none yet."""
    for folder in (trial.folder, stage_of(trial)):
        record, run = RunRecord.read(folder), read_notes(folder)["run_id"]
        if record is not None and run:
            return f"{pages_of(record.uri)}/#/runs/{run}"
    return ""


def baselines(study: Study) -> list[Baseline]:
    """The start that all trainings share, and the oracle of the table of the same data set."""
    found: dict[str, list[Path]] = {}
    for path in sorted(study.folder.glob(f"start/*/{RESULT}")):
        method = _config(path.parent).get("method.name", path.parent.name.rpartition("-")[0])
        found.setdefault(f"{method} (shared start)", []).append(path)
    tables = study.folder.parent.parent / "tables" / study.facts.get("dataset", "")
    trained = next((_config(stage_of(t)) for t in study.trials if t.state == "complete"), {})
    for path in sorted(tables.glob(f"*/oracle/{RESULT}")) if trained else ():
        if _comparable(_config(path.parent)) == _comparable(trained):
            found.setdefault("oracle", []).append(path)
    return [
        Baseline(name, paths[0].parent, tuple(read_json(path) or {} for path in paths))
        for name, paths in found.items()
        # Several of one seed: each belongs to other points.
        if len({_config(path.parent).get("seed") for path in paths}) == len(paths)
    ]


def _config(folder: Path) -> dict[str, Any]:
    """The config that a training was recorded with, flat; empty where nothing is known."""
    config = (read_json(folder / RECORD) or {}).get("config")
    return config if isinstance(config, dict) else {}


def _comparable(config: Mapping[str, Any]) -> dict[str, Any]:
    """The values that two trainings must share to be measured on one scale."""
    groups = ("model", "dataset", "evaluation")
    return {k: v for k, v in config.items() if k.split(".")[0] in groups and k != "dataset.oracle"}
