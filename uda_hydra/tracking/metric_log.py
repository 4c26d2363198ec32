"""``metrics.jsonl``: one line per step logged, in the run's folder; MLflow holds a copy of it.

Only the training process writes it. What is not a whole line of ours is never sent, and a
resumed training drops it.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from uda_hydra.files import is_number, write_text

log = logging.getLogger(__name__)

METRICS = "metrics.jsonl"
LARGEST = 2**63
"""Steps and times are smaller; MLflow keeps them in 64 bits."""


def now() -> int:
    """Milliseconds since 1970, MLflow's unit of time."""
    return int(time.time() * 1000)


class LoggedStep(NamedTuple):
    """The metrics logged at one step."""

    step: int
    time: int
    values: dict[str, float]
    local: Mapping[str, float] = {}
    """Values that are not sent."""


class MetricLog:
    """Appends to a folder's metrics, after dropping what was logged after step ``start``.

    A resumed run computes those steps again, bit for bit.
    """

    def __init__(self, folder: Path, start: int) -> None:
        path = folder / METRICS
        rewind(path, start)
        self._folder = folder
        self._held = b""
        self._failing = False
        # Unbuffered: a line that was logged outlives the process, however it dies.
        self._file = path.open("ab", buffering=0)

    def append(self, step: int, values: dict[str, float], local: Mapping[str, float] = {}) -> None:
        """Add a line. On a full disk, lines wait in memory until there is room."""
        self._held += _line(LoggedStep(step, now(), values, local)).encode()
        self._write()

    def close(self) -> None:
        """Close the file. Lines that still find no room are lost, which is told."""
        if self._held:
            self._write()
        if lost := self._held.count(b"\n"):
            log.warning("%d lines of %s in %s are lost", lost, METRICS, self._folder)
        self._file.close()

    def _write(self) -> None:
        try:
            self._held = self._held[self._file.write(self._held) :]
            self._failing = False
        except OSError as error:
            if not self._failing:
                log.warning("cannot write %s into %s: %s", METRICS, self._folder, error)
            self._failing = True


def rewind(path: Path, step: int) -> None:
    """Drop the lines after ``step`` and those that a full disk or a crash has damaged."""
    found = read(path, 0)
    kept = [point for point in found.points if point.step <= step]
    if path.exists() and (len(kept) < found.lines or found.end < path.stat().st_size):
        write_text(path, "".join(_line(point) for point in kept))


class Part(NamedTuple):
    """What was read of a log."""

    points: list[LoggedStep]
    end: int
    """The offset behind the last complete line."""
    lines: int
    """The number of complete lines; those that are no points are damaged."""


def read(path: Path, offset: int) -> Part:
    """The complete lines from byte ``offset`` on."""
    if not path.exists():
        return Part([], offset, 0)
    if not path.is_file():
        raise OSError(f"{path} is not a file")
    with path.open("rb") as file:
        file.seek(offset)
        content = file.read()
    whole = content[: content.rfind(b"\n") + 1]
    lines = whole.split(b"\n")[:-1]
    points = [point for point in map(_point, lines) if point is not None]
    return Part(points, offset + len(whole), len(lines))


def _line(point: LoggedStep) -> str:
    """A step as JSON, where a number that is not finite is null."""
    fields: dict[str, object] = {"step": point.step, "time": point.time}
    for kind, values in (("values", point.values), ("local", point.local)):
        if values or kind == "values":
            fields[kind] = {k: v if math.isfinite(v) else None for k, v in values.items()}
    return json.dumps(fields, allow_nan=False) + "\n"


def _point(line: bytes) -> LoggedStep | None:
    """The step in a line; None if it is damaged."""
    try:
        fields = json.loads(line)
        step, moment = fields["step"], fields["time"]
        values, local = map(_numbers, (fields["values"], fields.get("local", {})))
        if not all(is_number(v) and abs(v) < LARGEST for v in (step, moment)):
            return None
        point = LoggedStep(int(step), int(moment), values, local)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None
    return point if min(point.step, point.time) >= 0 else None


def _numbers(values: Mapping[str, float | None]) -> dict[str, float]:
    """Values as they were logged; raises ValueError for what is no number."""
    if not all(value is None or is_number(value) for value in values.values()):
        raise ValueError(values)
    return {name: math.nan if value is None else float(value) for name, value in values.items()}
