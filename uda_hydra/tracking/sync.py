"""Brings MLflow up to date with a run's folder: nothing twice, nothing left out.

A sync may be broken off at any point and repeated by any process, because the store itself is
asked what it has. A run's metrics arrive in order and a batch arrives whole or not at all, so the
last step of each metric says it all.
"""

from __future__ import annotations

import contextlib
import getpass
import json
from pathlib import Path
from typing import Any

from uda_hydra.files import locked, write_json
from uda_hydra.tracking import metric_log, store
from uda_hydra.tracking.metric_log import RunRecord

NOTES = "mlflow.json"
"""What the sender remembers: the run's id, and the files that it uploaded."""
LOCK = "mlflow.lock"
FILES = ("config.yaml", "per_class.csv", "per_class.json", "pictures/*.png", "report/*.*")
STATUS = {
    "running": "RUNNING",
    "finished": "FINISHED",
    "interrupted": "KILLED",
    "failed": "FAILED",
}


class MlflowSync:
    """Sends what MLflow lacks of one folder, as often as it is asked to.

    Holds the folder's lock from the first ``send`` to ``close``: one sender at a time.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held = contextlib.ExitStack()
        self._locked = False
        self._client: Any = None

    def send(self, *, abandoned: bool = False) -> int:
        """Send everything new; the number of metric values sent.

        ``abandoned`` says that nobody trains here, so a run that never ended was killed.
        """
        if not self._locked:
            self._held.enter_context(locked(self.folder / LOCK, wait=False))
            self._locked = True
        card = RunRecord.read(self.folder)
        if card is None:
            return 0
        if abandoned and card.status == "running" and (self.folder / metric_log.METRICS).exists():
            written = (self.folder / metric_log.METRICS).stat().st_mtime
            card.status, card.ended = "interrupted", int(1000 * written)
        try:
            if self._client is None and not self._open(card):
                return 0
            sent = self._send_points()
            self._send_status(card)
            self._send_files(card)
        except Exception:
            # Whether the last request arrived is unknown: ask again before sending more.
            self._client = None
            raise
        return sent

    def close(self) -> None:
        """Let another process send."""
        self._held.close()
        self._locked = False

    def open_run(self, card: RunRecord) -> str:
        """The id of the run in the store, made if need be, with its parameters and tags."""
        client, experiment = store.open_experiment(card)
        self._notes = self._read_notes()
        run = store.find_run(client, experiment, self._notes["run_id"], card.key)
        tags = {store.KEY: card.key, "mlflow.user": getpass.getuser(), **card.tags}
        if card.parent is not None:
            tags["mlflow.parentRunId"] = _open_parent(Path(card.parent))
        if run is None:
            run = client.create_run(
                experiment, start_time=card.started, tags={store.KEY: card.key}, run_name=card.name
            )
        self._client, self._run, self._status = client, run, (run.info.status, run.info.end_time)
        if self._notes["run_id"] != run.info.run_id:
            self._note(run_id=run.info.run_id, files={})
        if run.info.lifecycle_stage == "deleted":
            return run.info.run_id
        # A parameter never changes in MLflow: the value of a run's first start stays.
        params = {k: v for k, v in card.params.items() if k not in run.data.params}
        store.log_params(client, run.info.run_id, params)
        store.log_tags(client, run.info.run_id, tags)
        if card.status == "running" and run.info.status != "RUNNING":
            client.update_run(run.info.run_id, status="RUNNING")
        return run.info.run_id

    def _open(self, card: RunRecord) -> bool:
        """Learn what the store has; False if a person has deleted the run there."""
        run_id = self.open_run(card)
        if self._run.info.lifecycle_stage == "deleted":
            self._client = None
            return False
        self._offset = 0
        if self._status == (STATUS[card.status], card.ended) and card.ended is not None:
            # The status is sent after all points.
            self._offset = metric_log.read(self.folder / metric_log.METRICS, 0)[1]
        self._last = {
            name: max(metric.step for metric in self._client.get_metric_history(run_id, name))
            for name in (self._run.data.metrics if self._offset == 0 else ())
        }
        return True

    def _send_points(self) -> int:
        points, offset = metric_log.read(self.folder / metric_log.METRICS, self._offset)
        new: list[store.Value] = []
        for point in points:
            for name, value in point.values.items():
                if point.step > self._last.get(name, -1):
                    new.append((name, value, point.time, point.step))
                    self._last[name] = point.step
        store.log_metrics(self._client, self._run.info.run_id, new)
        self._offset = offset
        return len(new)

    def _send_status(self, card: RunRecord) -> None:
        status = (STATUS[card.status], card.ended)
        if card.ended is not None and status != self._status:
            self._client.set_terminated(self._run.info.run_id, status[0], end_time=card.ended)
            self._status = status

    def _send_files(self, card: RunRecord) -> None:
        found = {}
        for path in (path for pattern in FILES for path in self.folder.glob(pattern)):
            # A picture may be cleared away between the listing and the look.
            with contextlib.suppress(FileNotFoundError):
                state = path.stat()
                name = path.relative_to(self.folder).as_posix()
                found[name] = [state.st_mtime_ns, state.st_size]
        known = self._notes["files"]
        if found == known:
            return
        for name in found:
            if found[name] != known.get(name):
                folder = Path(name).parent.as_posix()
                self._client.log_artifact(
                    self._run.info.run_id, self.folder / name, None if folder == "." else folder
                )
        for name in known.keys() - found.keys():
            store.delete_artifact(self._run, card.uri, name)
        self._note(run_id=self._run.info.run_id, files=found)

    def _read_notes(self) -> dict[str, Any]:
        path = self.folder / NOTES
        return json.loads(path.read_text()) if path.exists() else {"run_id": "", "files": {}}

    def _note(self, **notes: Any) -> None:
        self._notes = notes
        write_json(self.folder / NOTES, notes)


def _open_parent(folder: Path) -> str:
    """The id of the run that ``folder`` describes, made if its own sender did not come first."""
    card = RunRecord.read(folder)
    if card is None:
        raise FileNotFoundError(
            f"{folder / metric_log.RECORD} is missing: no parent run to belong to"
        )
    with locked(folder / LOCK):
        return MlflowSync(folder).open_run(card)
