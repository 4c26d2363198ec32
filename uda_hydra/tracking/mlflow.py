"""Tracking with MLflow that cannot harm a training: it writes files, and a thread sends them."""

from __future__ import annotations

import contextlib
import csv
import logging
import math
import re
import shlex
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from uda_hydra.engine.events import Callback, Evaluation, Run
from uda_hydra.files import csv_cell, mask, quoted, write_atomically, write_json
from uda_hydra.tracking import metric_log
from uda_hydra.tracking.formatting import dataset, legal, parameters, source
from uda_hydra.tracking.metric_log import MetricLog
from uda_hydra.tracking.record import FOLDER, RECORD, RunRecord
from uda_hydra.tracking.system import System
from uda_hydra.tracking.uploader import Uploader
from uda_hydra.tracking.uri import absolute

log = logging.getLogger(__name__)

PER_CLASS = "per_class.json"
PERIOD, PATIENCE = 5.0, 10.0
"""Seconds between two uploads, and seconds that the end of a run waits for the last one."""
WEIGHTS_PATIENCE = 600.0
"""The latter where weights are sent too."""
LOGGED_SERIES = 15
"""Curves of a training in MLflow besides those of its evaluations and of the system, because
MLflow's pages become slow with many."""
USUAL = ("loss/", "lr/", "speed/", "memory/")
"""What every training has, which is sent even where there are more."""


class Tracking(Callback):
    """Mirrors a run in MLflow: parameters, tags, metrics, files and how it ended.

    ``uri`` and ``artifacts`` may be relative; ``parent`` is the folder given to ``open_parent``.
    ``weights`` ("last", "best" or "none") are logged as a model.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        *,
        artifacts: Path,
        parent: Path | None = None,
        tags: Mapping[str, str] | None = None,
        weights: str = "none",
    ) -> None:
        self._store = {
            "uri": absolute(uri),
            "experiment": experiment,
            "artifacts": str(artifacts.absolute()),
            "parent": None if parent is None else str(parent.absolute()),
        }
        self._tags = dict(tags or {})
        self._weights = weights
        self._names: dict[str, str] = {}
        self._local: set[str] = set()
        self._system = System()
        self._uploader: Uploader | None = None

    def on_start(self, run: Run) -> None:
        """Continue the folder's run, or start one: a changed training has been moved aside."""
        self._folder = run.folder.absolute()
        self._folder.mkdir(parents=True, exist_ok=True)
        before = RunRecord.read(self._folder)
        self._record = RunRecord(
            **self._store,
            name=run.name,
            key=before.key if before else uuid.uuid4().hex,
            tags=_tags(self._tags | run.facts, self._folder),
            params=parameters(run.config),
            started=before.started if before else metric_log.now(),
            dataset=dataset(run.facts, run.config),
            weights=self._weights,
        )
        self._record.write(self._folder)
        self._log = MetricLog(self._folder, run.start)
        self._uploader = Uploader(self._folder, period=PERIOD)
        self._uploader.start()

    def on_log(self, step: int, values: dict[str, float]) -> None:
        """Write one line to the log."""
        if new := [name for name in values if name not in self._names]:
            self._choose(new)
        sent: dict[str, float] = {}
        local: dict[str, float] = {}
        for name, value in values.items():
            (local if name in self._local else sent)[self._names[name]] = float(value)
        self._log.append(step, sent | self._system.sample(), local)

    def on_evaluate(self, evaluation: Evaluation) -> None:
        """Log means and classes as curves; a table of the classes replaces the one before."""
        metrics = evaluation.scores.metrics()
        values = {"miou/last": metrics.pop("miou"), "miou/best": evaluation.best} | metrics
        values |= {**evaluation.label_free, **evaluation.further}
        classes = evaluation.scores.per_class()
        values |= {legal(name): iou for name, iou in classes.items() if not math.isnan(iou)}
        self._log.append(evaluation.step, {name: float(v) for name, v in values.items()})
        with _warning_of_disks():
            write_per_class(self._folder, evaluation)

    def on_end(self, status: str) -> None:
        """Record how the run ended, and wait a bounded time until all of it is sent."""
        if self._uploader is None:
            return
        self._log.close()
        end(self._folder, self._record, status, self._uploader)

    def _choose(self, new: Sequence[str]) -> None:
        """Leave new curves to the folder alone where there is no room for them in MLflow."""
        others = [name for name in new if not name.startswith(USUAL)]
        self._names |= {name: legal(name) for name in new}
        taken = len(self._names) - len(self._local) - len(others)
        left_out = others[max(0, LOGGED_SERIES - taken) :]
        self._local.update(left_out)
        if left_out:
            shown = len(self._names) - len(self._local)
            log.warning(
                "MLflow gets %d curves, which its pages can show; only %s holds %s",
                *(shown, metric_log.METRICS, ", ".join(left_out)),
            )


def _tags(given: Mapping[str, object], folder: Path) -> dict[str, str]:
    """Tags in MLflow's form, without passwords, with the folder of the run's files."""
    named = {legal(name): mask(str(value)) for name, value in given.items()}
    return named | source(named) | {FOLDER: str(folder.absolute())}


def open_parent(
    uri: str,
    experiment: str,
    name: str,
    folder: Path,
    *,
    artifacts: Path,
    config: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    parent: Path | None = None,
    views: Mapping[str, str] | None = None,
) -> None:
    """Describe in ``folder`` the run that its stages are parts of (``Tracking(parent=folder)``).

    ``parent`` is the folder of the run that this one in turn is a part of: a study, for a trial.
    ``views`` are added to the experiment's saved views.
    Nothing is sent here: the first stage that finds the store creates the run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = RunRecord.read(folder)
    RunRecord(
        uri=absolute(uri),
        experiment=experiment,
        artifacts=str(artifacts.absolute()),
        name=name,
        key=before.key if before else uuid.uuid4().hex,
        parent=None if parent is None else str(parent.absolute()),
        tags=_tags(tags or {}, folder),
        params=parameters(config or {}),
        started=before.started if before else metric_log.now(),
        views=dict(views or {}),
    ).write(folder)


def close_parent(
    folder: Path,
    status: str,
    metrics: Mapping[str, float] | None = None,
    *,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Record how the stages ended ("finished", ...) and their result; waits a bounded time."""
    record = RunRecord.read(folder)
    if record is None:
        raise FileNotFoundError(f"{folder / RECORD} is missing: open_parent comes first")
    record.tags |= {legal(name): str(value) for name, value in (tags or {}).items()}
    values = {legal(name): float(value) for name, value in (metrics or {}).items()}
    with _warning_of_disks():
        record.write(folder)
    with _warning_of_disks():
        _log_result(folder, values)
    uploader = Uploader(folder, period=PERIOD)
    uploader.start()
    end(folder, record, status, uploader)


def _log_result(folder: Path, values: dict[str, float]) -> None:
    """Log a result. Stages that run again may have another one, which becomes one more point."""
    before = metric_log.read(folder / metric_log.METRICS, 0).points
    if values and (not before or before[-1].values != values):
        lines = MetricLog(folder, len(before))
        lines.append(len(before), values)
        lines.close()


@contextlib.contextmanager
def _warning_of_disks() -> Iterator[None]:
    """Turn an error of the disk into a warning: it must not replace the error of a training."""
    try:
        yield
    except OSError as error:
        log.warning("%s", error)


def end(folder: Path, record: RunRecord, status: str, uploader: Uploader) -> None:
    """Record how a run ended and wait until all is sent; warn if that takes too long."""
    record.status, record.ended = status, metric_log.now()
    with _warning_of_disks():
        record.write(folder)
    weights = record.weights != "none" and status == "finished"
    if not uploader.close(patience=WEIGHTS_PATIENCE if weights else PATIENCE):
        where = f"output={folder}"
        if not re.fullmatch(r"[\w./=-]+", where, re.ASCII):
            where = shlex.quote(quoted(where))
        rest = f"python launch.py task=sync {where}"
        if mask(record.uri) != record.uri:
            rest += " with the same tracking.uri, whose password no file holds,"
        log.warning("MLflow has not received everything yet; %s sends the rest", rest)


def write_per_class(folder: Path, evaluation: Evaluation) -> None:
    """Write the table of classes, as CSV and as JSON (where nan is null)."""
    scores = evaluation.scores
    columns = (scores.names, scores.iou, scores.class_accuracy, scores.precision)
    rows = [(name, *map(float, numbers)) for name, *numbers in zip(*columns, strict=True)]
    table = {
        "step": evaluation.step,
        "iou": {name: None if iou != iou else iou for name, iou, *_ in rows},
    }

    def write_csv(path: Path) -> None:
        with path.open("w", newline="") as file:
            head = ("class", "iou", "accuracy", "precision")
            csv.writer(file).writerows([head, *(map(csv_cell, row) for row in rows)])

    write_atomically(folder / "per_class.csv", write_csv)
    write_json(folder / PER_CLASS, table)
