"""What a run logs, kept in files in its folder; MLflow holds a copy of them.

``metrics.jsonl`` has one line per step logged. ``tracking.json`` describes the run, where
its metrics are sent and how it ended. Only the training process writes them.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from uda_hydra.files import write_json, write_text

log = logging.getLogger(__name__)

METRICS = "metrics.jsonl"
RECORD = "tracking.json"


def now() -> int:
    """Milliseconds since 1970, MLflow's unit of time."""
    return int(time.time() * 1000)


class LoggedStep(NamedTuple):
    """The metrics logged at one step."""

    step: int
    time: int
    values: dict[str, float]


@dataclass
class RunRecord:
    """Everything that a tracking store holds of a run besides metrics and files."""

    uri: str
    experiment: str
    artifacts: str
    """Root of the artifacts of a new experiment in a database; a server has its own."""
    name: str
    key: str
    """Drawn at the run's first start; a store is searched for it before a run is created."""
    parent: str | None
    """Folder of the run this one is a part of."""
    tags: dict[str, str]
    params: dict[str, str]
    started: int
    status: str = "running"
    """"running", or how the run ended: "finished", "interrupted", "failed"."""
    ended: int | None = None

    def write(self, folder: Path) -> None:
        """Replace the record in ``folder``."""
        write_json(folder / RECORD, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> RunRecord | None:
        """The record in ``folder``, or None."""
        path = folder / RECORD
        return cls(**json.loads(path.read_text())) if path.exists() else None


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

    def append(self, step: int, values: dict[str, float]) -> None:
        """Add a line. On a full disk, lines wait in memory until there is room."""
        line = json.dumps({"step": step, "time": now(), "values": values})
        self._held += line.encode() + b"\n"
        try:
            self._held = self._held[self._file.write(self._held) :]
            self._failing = False
        except OSError as error:
            if not self._failing:
                log.warning("cannot write %s into %s: %s", METRICS, self._folder, error)
            self._failing = True

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def rewind(path: Path, step: int) -> None:
    """Drop the lines after ``step``, and a last line that a full disk cut short."""
    if not path.exists():
        return
    points, size = read(path, 0)
    kept = [point for point in points if point.step <= step]
    if len(kept) == len(points) and size == path.stat().st_size:
        return
    text = "".join(json.dumps(point._asdict()) + "\n" for point in kept)
    write_text(path, text)


def read(path: Path, offset: int) -> tuple[list[LoggedStep], int]:
    """The complete lines from byte ``offset`` on, and the offset behind them."""
    if not path.exists():
        return [], offset
    with path.open("rb") as file:
        file.seek(offset)
        lines = file.read()
    whole = lines[: lines.rfind(b"\n") + 1]
    return [LoggedStep(**json.loads(line)) for line in whole.splitlines()], offset + len(whole)
