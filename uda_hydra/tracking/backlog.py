"""Sends what MLflow lacks of runs on this disk; one that fails stops no other."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from uda_hydra.tracking.metric_log import METRICS
from uda_hydra.tracking.mlflow_store import StoreError
from uda_hydra.tracking.record import RECORD, RunRecord
from uda_hydra.tracking.sender import Sender, reason

log = logging.getLogger(__name__)


class Backlog(NamedTuple):
    """What came of sending many runs."""

    runs: int
    sent: int
    """Number of values of metrics."""
    failures: dict[Path, str]
    """Folder of a run to what could not be sent, in one line."""
    left: Counter[str]
    """Why runs are left as they are, to their number."""


class Sent(NamedTuple):
    """What came of sending one run."""

    values: int
    left: str = ""
    """Why nothing is sent: ``BUSY`` or ``DELETED``."""


BUSY, DELETED = "are sent by their own processes", "were deleted in MLflow"


def send_all(root: Path) -> Backlog:
    """Send what MLflow lacks of every run below ``root``.

    Runs that are being trained are left to their own process. A store that has failed is asked
    once; its other runs fail with the same reason.
    """
    folders = sorted(path.parent for path in root.absolute().rglob(RECORD))
    # Parts first: what opens a run of several parts, if need be, does not know that it was killed.
    folders.sort(key=lambda folder: len(folder.parts), reverse=True)
    sent = 0
    left: Counter[str] = Counter()
    failures: dict[Path, str] = {}
    failed: dict[tuple[str, str] | None, str] = {}
    for folder in folders:
        record = RunRecord.read(folder)
        store = (record.uri, record.experiment) if record else None
        if store in failed:
            failures[folder] = failed[store]
            continue
        try:
            done = send(folder, abandoned=True)
            sent += done.values
            if done.left:
                left[done.left] += 1
        except ConnectionError as error:
            failures[folder] = str(error)
            if isinstance(error.__cause__, StoreError):
                failed[store] = str(error)
    return Backlog(len(folders), sent, failures, left)


def send(folder: Path, *, abandoned: bool) -> Sent:
    """Send what MLflow lacks of the run in ``folder``.

    ``abandoned``: no process works on the run, so one that never ended was killed. Raises
    ConnectionError, whose text is one line, for whatever keeps a part of the run from MLflow. A run
    that is being sent, or that a person has deleted in MLflow, is left alone.
    """
    sender = Sender(folder)
    try:
        count = sender.send(abandoned=abandoned)
    except BlockingIOError:
        log.info("%s is being sent by its own process", folder)
        return Sent(0, BUSY)
    except Exception as error:  # nothing that is wrong with one run may stop the others
        raise ConnectionError(reason(error)) from error
    finally:
        sender.close()
    if sender.damaged:
        raise ConnectionError(f"{sender.damaged} lines of {METRICS} are damaged; the rest was sent")
    log.info("%s: sent %d values", folder, count)
    return Sent(count, DELETED if sender.deleted else "")
