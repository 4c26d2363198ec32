"""A study as plain values: the sweeper fills it, the report reads it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Value = float | int | str | bool | None
"""A value of a swept key."""
Point = dict[str, Value]
"""A value for every swept key, such as ``{"loss.lambda_adv": 0.001}``."""


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
