"""What a command has left, in a form that must not depend on how often it was stopped."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from uda_hydra.files import digest
from uda_hydra.studies.load import load_study

UNCOMPARED = ("*.lock", "mlflow.db*", "study.db*", "mlflow-artifacts", "cost.json")
"""Files and folders that are no result, or whose names are drawn at random.

A training that is killed between its last checkpoint and ``cost.json`` has none.
"""
DATED = (
    *("previous.pt", "checksums.txt", "config.yaml", "tracking.json", "mlflow.json"),
    *("*.log", "*.html", "*.csv", "streets.jsonl"),
)
"""Files that must be there and may differ: they hold times, numbers, states that a kill skips."""
MEASURED = (
    *("seconds", "peak_memory_gb", "speed/", "memory/", "system/"),
    *("git commit", "command", "trial", "checksum"),
)
"""Beginnings of the names of values that depend on machine, moment, or the number of a trial."""

Outcome = dict[str, Any]


def outcome(folder: Path) -> Outcome:
    """Name to content of all that was left in ``folder``: files, trainings of MLflow, trials."""
    found = files(folder)
    for database in sorted(folder.rglob("mlflow.db")):
        found["MLflow"] = tracked(database)
    for database in sorted(folder.rglob("study.db")):
        found["trials"] = trials(database.parent)
    return found


def files(folder: Path) -> Outcome:
    """Path to content of each file; of a trial alone that it is there, see ``trials``."""
    found = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_dir() or any(fnmatch(part, one) for part in inside.parts for one in UNCOMPARED):
            continue
        if "trials" not in inside.parts:
            found[name_of(inside)] = content(path)
    return found


def name_of(path: Path) -> str:
    """A path without the time that the name of a cached file holds."""
    return re.sub(r"@\d+-\d+$", "", str(path))


def content(path: Path) -> object:
    """What must be equal of a file."""
    if any(fnmatch(path.name, one) for one in DATED):
        return None
    try:
        if path.name in ("result.json", "evaluation.json"):
            return computed(json.loads(path.read_text()))
        if path.name == "metrics.jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            return [(line["step"], computed(line["values"])) for line in lines]
        return digest(path)
    except (OSError, ValueError) as error:
        return f"unreadable ({error})"


def computed(values: dict[str, Any]) -> dict[str, Any]:
    """The values that the command decides."""
    return {name: value for name, value in values.items() if not name.startswith(MEASURED)}


def tracked(database: Path) -> list[tuple]:
    """Name, state and metrics of each run that MLflow has; a trial's name without its number."""
    wanted = "SELECT name, status, key, step, value FROM runs LEFT JOIN metrics USING (run_uuid)"
    with closing(sqlite3.connect(database)) as connection:
        rows = [(re.sub(r" #\d+", "", name), *rest) for name, *rest in connection.execute(wanted)]
    return sorted((row for row in rows if not str(row[2]).startswith(MEASURED)), key=str)


def trials(folder: Path) -> Outcome:
    """Point to objective and files of each training of a study, whatever its number is."""
    found = {}
    for trial in load_study(folder).trials:
        if trial.state == "complete":
            name = f"{trial.params} seed {trial.seed}"
            assert name not in found, f"{name} was trained twice"
            found[name] = trial.values, files(trial.folder)
        else:
            assert "continued" in trial.note, trial
    return found


def difference(left: Outcome, right: Outcome) -> list[str]:
    """One line for everything that is in one of two outcomes alone, or differs."""
    lines = []
    for name in sorted({*left, *right}):
        if name not in right:
            lines.append(f"{name} is missing")
        elif name not in left:
            lines.append(f"{name} is left over")
        elif left[name] != right[name]:
            lines.append(f"{name}: {contrast(left[name], right[name])}")
    return lines


def contrast(left: object, right: object) -> str:
    """Where two contents differ first."""
    if isinstance(left, dict) and isinstance(right, dict):
        return "; ".join(difference(left, right))
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        for number, (one, other) in enumerate(zip(left, right, strict=False)):
            if one != other:
                return f"item {number}: {contrast(one, other)}"
        return f"{len(left)} and {len(right)} items, then {[*left, *right][-1]}"[:300]
    return f"{left!s:.100} and {right!s:.100}"
