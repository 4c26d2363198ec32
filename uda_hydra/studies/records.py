"""What a study holds, as plain values: the sweeper writes it, the report reads it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Value = float | int | str | bool | None
"""Of a swept key."""


@dataclass(frozen=True)
class Trial:
    """One training of a study: a point of the search space with a seed."""

    number: int
    state: str
    """complete, failed, pruned, running or waiting."""
    params: dict[str, Value]
    """By swept key, such as ``loss.lambda_adv``; the seed is not among them."""
    seed: int
    folder: Path
    values: tuple[float, ...] = ()
    """Of the objectives, in their order; empty unless complete."""
    result: dict[str, Any] = field(default_factory=dict)
    """``result.json`` of its last stage; empty unless complete."""
    note: str = ""
    """Why it failed or was pruned."""


@dataclass(frozen=True)
class Study:
    """A question, what was tried to answer it, and what came out so far."""

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
    """Swept key to what may be drawn of it, as written: ``choice(...)``,
    ``tag(log, interval(...))``."""
    reference: dict[str, Value]
    """The point of the paper: the composed values of the swept keys. Always part of the study."""
    seeds: tuple[int, ...]
    trials: tuple[Trial, ...]
    facts: dict[str, str] = field(default_factory=dict)
    """Versions, git commit, method, dataset, steps ..."""
