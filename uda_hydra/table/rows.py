"""The rows of a table, and the finished trainings of each below the table's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from uda_hydra.files import is_finite, read_json
from uda_hydra.runs.identity import RECORD, record
from uda_hydra.runs.results import read_result
from uda_hydra.runs.stages import Stage
from uda_hydra.studies.report.metrics import Metric

Result = dict[str, Any]

GIVEN = ("method=", "init=", "dataset.oracle=")
"""Overrides of a stage that its name already implies."""
TUNED = "_tuned"
"""What the name of a row ends with whose weights are not the paper's."""


class Kind(NamedTuple):
    """What the trainings of a row have in common: all but the seed."""

    name: str
    identity: dict[str, Any]
    """What decides the numbers, without what follows from the seed."""
    note: str


class Training(NamedTuple):
    """A finished training."""

    folder: Path
    result: Result


@dataclass
class Row:
    """The finished trainings that differ only in the seed."""

    name: str
    note: str
    trainings: dict[int, Training] = field(default_factory=dict)
    """By seed."""

    def scores(self, key: str) -> dict[int, float]:
        """A key of the results by seed, shares in percent, where it is a finite number."""
        found = {seed: one.result.get(key) for seed, one in self.trainings.items()}
        scale = Metric(key).scale
        return {s: scale * v for s, v in found.items() if is_finite(v)}


def kinds(stages: Sequence[Stage], lists: Mapping[str, Sequence[str]]) -> list[Kind]:
    """The rows for the stages of a run; ``lists`` are the command lines they come from."""
    return [
        Kind(
            stage.name,
            _seedless(record(stage.config, {})["config"]),
            _note(stage.name, lists[stage.name]),
        )
        for stage in stages
    ]


def _note(name: str, overrides: Sequence[str]) -> str:
    """How a row differs from its method alone."""
    changed = ", ".join(line for line in overrides if not line.startswith(GIVEN))
    return f"tuned on other data: {changed}" if name.endswith(TUNED) else changed


def _seedless(values: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a training as it is for every seed."""
    return {key: value for key, value in values.items() if key != "seed"}


def collect(folder: Path, known: Sequence[Kind]) -> tuple[list[Row], list[str]]:
    """The rows below ``folder``, and what was trained with another config than the row's.

    What was trained from such a training, directly or not, is left out with it. ``known`` are in
    the order of the stages, each after those that it reads.
    """
    rows = [Row(kind.name, kind.note) for kind in known]
    left_out = []
    for run in sorted(path for path in folder.glob("*/") if path.is_dir()):
        others: list[str] = []
        for kind, row in zip(known, rows, strict=True):
            identity = read_json(run / kind.name / RECORD) or {}
            result = read_result(run / kind.name, identity)
            if result is None:
                continue
            trained = identity.get("config", {})
            from_others = any(f"${{stage:{name}}}" in str(trained) for name in others)
            if _seedless(trained) == kind.identity and not from_others:
                row.trainings[trained["seed"]] = Training(run / kind.name, result)
            else:
                others.append(kind.name)
        left_out += [f"{run.name}/{name}" for name in others]
    return rows, left_out
