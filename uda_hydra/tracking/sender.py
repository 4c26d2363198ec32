"""Brings MLflow up to date with a run's folder: nothing twice, nothing left out.

Sending may stop at any point and be repeated by any process, because it asks the store what it has.
A run's metrics arrive in order, and each batch completely or not at all, so the last step of each
metric is all that has to be known.
"""

from __future__ import annotations

import contextlib
import getpass
import logging
import os
import stat
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from uda_hydra.errors import first_line
from uda_hydra.files import locked, mask, printable, read_json, write_json
from uda_hydra.tracking import metric_log, mlflow_store
from uda_hydra.tracking.record import RECORD, STATUS, RunRecord

log = logging.getLogger(__name__)

NOTES = "mlflow.json"
"""File of the sender's notes: ids of run and experiment, and the files that were uploaded."""
LOCK = "mlflow.lock"
DAMAGED = (
    f"{RECORD} is damaged, so that nothing is known of this run; its training's command writes it "
    "again, or remove the file"
)
LONGEST_REASON = 300
FILES = ("config.yaml", "per_class.csv", "per_class.json", "pictures/*.png", "report/*.*")
LAST_FILES = ("train.log", "result.json")
"""Files that are sent when the run has ended: the first grows at every log."""


class Sender:
    """Sends what MLflow lacks of one folder; ``send`` may be called any number of times.

    Holds the folder's lock from the first ``send`` to ``close``: one sender at a time.
    """

    damaged = 0
    """Lines of the metric log that cannot be read; all others are sent."""
    deleted = False
    """Whether a person has deleted the run in MLflow."""
    _has_weights = False
    _keeps_files = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held = contextlib.ExitStack()
        self._locked = False
        self._client: Any = None

    def send(self, *, abandoned: bool = False) -> int:
        """Send everything new; return the number of metric values sent.

        ``abandoned``: no process trains here, so a run that never ended was killed, unless a part
        of it is being trained. Raises OSError or an error of MLflow's, and is then to be called
        again.
        """
        if not self._locked:
            self._held.enter_context(locked(self.folder / LOCK, wait=False))
            self._locked = True
        record = RunRecord.read(self.folder)
        if record is None:
            if (self.folder / RECORD).exists():
                raise OSError(DAMAGED)
            return 0
        if abandoned and record.status == "running" and not _is_sent_below(self.folder):
            # A run of stages or trials that never ended has no metrics of its own.
            logged, card = self.folder / metric_log.METRICS, self.folder / RECORD
            written = (logged if logged.exists() else card).stat().st_mtime
            record.status, record.ended = "interrupted", int(1000 * written)
        try:
            if self._client is None and not self._open(record, adopt=abandoned):
                return 0
            sent = self._send_points()
            self._send_status(record)
            self._send_files(record)
            self._send_weights(record)
        except Exception:
            # Whether the last request arrived is unknown: ask again before sending more.
            self._client = None
            raise
        return sent

    def close(self) -> None:
        """Let another process send."""
        self._held.close()
        self._locked = False

    def open_run(self, record: RunRecord, *, adopt: bool = False, alive: bool = True) -> str:
        """The id of the run in the store, created if needed, with its parameters and tags.

        ``adopt`` is handed to ``open_store``. ``alive``: a record that says "running" is right.
        """
        store = mlflow_store.open_store(record, adopt=adopt)
        client = store.client
        self._notes = read_notes(self.folder)
        run = mlflow_store.find_run(client, store.experiment, self._notes["run_id"], record.key)
        if run is not None and run.info.experiment_id != store.experiment:
            name = client.get_experiment(run.info.experiment_id).name
            log.warning("%s stays in the experiment %s, where it began", self.folder, name)
            store = mlflow_store.open_store(replace(record, experiment=name), adopt=adopt)
        tags = {mlflow_store.KEY: record.key, "mlflow.user": user_name(), **record.tags}
        known = alive or record.status != "running"
        if known:
            tags["state"] = record.status
        if record.parent is not None and (parent := _open_parent(Path(record.parent), adopt=adopt)):
            tags["mlflow.parentRunId"] = parent
        if run is None:
            run = client.create_run(
                store.experiment,
                start_time=record.started,
                tags={mlflow_store.KEY: record.key},
                run_name=record.name,
            )
        self._client, self._run, self._status = client, run, (run.info.status, run.info.end_time)
        files = self._notes["files"] if self._notes["run_id"] == run.info.run_id else {}
        self._note(run_id=run.info.run_id, experiment=store.experiment, files=files)
        if run.info.lifecycle_stage == "deleted":
            return run.info.run_id
        self._store, self._artifacts = store, store.artifacts(run.info.artifact_uri)
        # A parameter never changes in MLflow: the value of a run's first start stays.
        params = {k: v for k, v in record.params.items() if k not in run.data.params}
        mlflow_store.log_params(client, run.info.run_id, params)
        mlflow_store.log_tags(client, run.info.run_id, tags)
        if record.dataset is not None:
            mlflow_store.log_dataset(client, run, record.dataset)
        for key, state in record.views.items():
            client.set_experiment_tag(store.experiment, key, state)
        if known and record.status == "running" and run.info.status != "RUNNING":
            client.update_run(run.info.run_id, status="RUNNING")
        return run.info.run_id

    def _open(self, record: RunRecord, *, adopt: bool) -> bool:
        """Ask what the store has; return False if a person has deleted the run there."""
        run_id = self.open_run(record, adopt=adopt)
        self.deleted = self._run.info.lifecycle_stage == "deleted"
        if self.deleted:
            self._client = None
            return False
        self._offset = self.damaged = 0
        if self._status == (STATUS[record.status], record.ended) and record.ended is not None:
            # The status is sent after all points.
            self._offset = metric_log.read(self.folder / metric_log.METRICS, 0).end
        self._last = {
            name: max(metric.step for metric in self._client.get_metric_history(run_id, name))
            for name in (self._run.data.metrics if self._offset == 0 else ())
        }
        return True

    def _send_points(self) -> int:
        part = metric_log.read(self.folder / metric_log.METRICS, self._offset)
        new: list[mlflow_store.Value] = []
        for point in part.points:
            for name, value in point.values.items():
                if point.step > self._last.get(name, -1):
                    new.append((name, value, point.time, point.step))
                    self._last[name] = point.step
        mlflow_store.log_metrics(self._client, self._run.info.run_id, new)
        self._offset = part.end
        self.damaged += part.lines - len(part.points)
        return len(new)

    def _send_status(self, record: RunRecord) -> None:
        status = (STATUS[record.status], record.ended)
        if record.ended is not None and status != self._status:
            self._client.set_tag(self._run.info.run_id, "state", record.status)
            self._client.set_terminated(self._run.info.run_id, status[0], end_time=record.ended)
            self._status = status

    def _send_files(self, record: RunRecord) -> None:
        found = {}
        patterns = FILES if record.ended is None else FILES + LAST_FILES
        for path in (path for pattern in patterns for path in self.folder.glob(pattern)):
            # A picture may be removed between the two calls.
            with contextlib.suppress(FileNotFoundError):
                state = path.stat()
                name = path.relative_to(self.folder).as_posix()
                if stat.S_ISREG(state.st_mode):
                    found[name] = [state.st_mtime_ns, state.st_size]
        known = self._notes["files"]
        if record.ended is None:
            # Those of an earlier end stay until the next one.
            found |= {name: known[name] for name in LAST_FILES if name in known}
        if found == known:
            return
        for name in found:
            if found[name] != known.get(name):
                folder = Path(name).parent.as_posix()
                self._artifacts.log_artifact(
                    str(self.folder / name), None if folder == "." else folder
                )
        # First: a file that cannot be deleted must not have the others sent again.
        self._note(files=known | found)
        left = self._delete(known.keys() - found.keys())
        self._note(files=found | {name: known[name] for name in left})

    def _delete(self, names: Iterable[str]) -> list[str]:
        """Delete files that are gone here; returns those that MLflow keeps, which is told once.

        Stores that cannot delete raise NotImplementedError (Azure Data Lake, Unity Catalog) or
        MLflow's own error; other errors, such as those of the network, end this attempt to send
        like any other. What is left is tried again.
        """
        # Late: MLflow takes seconds to import.
        from mlflow.exceptions import MlflowException

        left = []
        for name in names:
            try:
                self._artifacts.delete_artifacts(name)
            except (MlflowException, NotImplementedError) as error:
                if not self._keeps_files:
                    log.warning("MLflow keeps %s, which is gone here: %s", name, reason(error))
                self._keeps_files = True
                left.append(name)
        return left

    def _send_weights(self, record: RunRecord) -> None:
        if record.weights == "none" or record.status != "finished" or self._has_weights:
            return
        # Late: it takes torch, which a sync without weights does not need.
        from uda_hydra.tracking.weights import log_model

        log_model(self._store, self._run, record, self.folder)
        self._has_weights = True

    def _note(self, **notes: Any) -> None:
        changed = self._notes | notes
        if changed != self._notes:
            self._notes = changed
            write_json(self.folder / NOTES, changed)


def read_notes(folder: Path) -> dict[str, Any]:
    """The sender's notes on a folder; empty ones if there are none or they are damaged."""
    notes = read_json(folder / NOTES) or {}
    kinds = {"run_id": str, "files": dict, "experiment": str}
    # The notes of earlier versions lack the experiment.
    known = {"experiment": "", **notes}
    whole = all(isinstance(known.get(name), kind) for name, kind in kinds.items())
    return {name: known[name] if whole else kind() for name, kind in kinds.items()}


def user_name() -> str:
    """The user's name, or the user's number where the system knows no name (in containers)."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def reason(error: Exception) -> str:
    """An error in one line that may be printed: no password, no control characters, not long."""
    return mask(printable(first_line(error)))[:LONGEST_REASON]


def _is_sent_below(folder: Path) -> bool:
    """Whether a run that is a part of this one is being trained: its process holds its lock."""
    for path in folder.glob(f"**/*/{LOCK}"):
        try:
            with locked(path, wait=False):
                pass
        except BlockingIOError:
            return True
    return False


def _open_parent(folder: Path, *, adopt: bool) -> str:
    """The id of the run that ``folder`` describes, created unless its own sender has done so.

    Empty if nothing is known of it: its parts are worth having without it. Only a part that is
    being trained (not ``adopt``) shows that the whole is.
    """
    record = RunRecord.read(folder)
    if record is None:
        return read_notes(folder)["run_id"]
    with locked(folder / LOCK):
        return Sender(folder).open_run(record, adopt=adopt, alive=not adopt)
