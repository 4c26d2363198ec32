"""A study as plain values: the sweeper fills it, the report reads it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uda_hydra.files import is_number

Value = float | int | str | bool | None
"""A value of a swept key."""
Point = dict[str, Value]
"""A value for every swept key, such as ``{"loss.lambda_adv": 0.001}``."""


def bare(value: Value) -> Value:
    """A value without the quotes that Hydra's grammar requires."""
    quoted = isinstance(value, str) and len(value) > 1 and value[0] == value[-1] in ("'", '"')
    return value[1:-1] if quoted else value


def value_key(value: Value) -> tuple[str, Any]:
    """A value to look up: 1 and 1.0 are one number, 1 and true are two values."""
    if is_number(value):
        return "number", float(value)
    return type(value).__name__, str(bare(value))


@dataclass(frozen=True)
class Trial:
    """One training of a study: a point of the search space with a seed."""

    number: int
    state: str
    """complete, failed, retried, interrupted, pruned, running or waiting; one that is retried has
    failed, and another trial repeats it."""
    params: Point
    """The values of the swept keys; the seed is not among them."""
    seed: int
    folder: Path
    values: tuple[float, ...] = ()
    """The objectives, in their order; empty unless complete."""
    result: dict[str, Any] = field(default_factory=dict)
    """``result.json`` of the last stage; empty unless complete, or where it cannot be read."""
    note: str = ""
    """Why the trial failed, was interrupted or pruned, or what is missing of it."""


@dataclass(frozen=True)
class Study:
    """A study as it stands: its question, its design, and its trials so far."""

    name: str
    folder: Path
    question: str
    """The first lines of the sweep's file, or the swept keys where there is no file."""
    command: str
    objectives: tuple[str, ...]
    """Keys of ``result.json``, such as ``miou/last``."""
    directions: tuple[str, ...]
    """maximize or minimize, one per objective."""
    space: dict[str, str]
    """Swept key to its range as written: ``choice(...)``, ``tag(log, interval(...))``."""
    reference: Point
    """The composed values of the swept keys; empty where they are no point of the study."""
    seeds: tuple[int, ...]
    trials: tuple[Trial, ...]
    facts: dict[str, str] = field(default_factory=dict)
    """Versions, git commit, method, dataset, steps ..."""
