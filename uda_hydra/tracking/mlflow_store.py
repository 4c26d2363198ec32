"""All access to MLflow, which is slow to import and therefore imported late."""

from __future__ import annotations

import os
import sqlite3
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uda_hydra.files import locked
from uda_hydra.tracking.metric_log import RunRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as StoredRun

SQLITE = "sqlite:///"
KEY = "uda_hydra.key"
"""Tag by which a run is found whose id was never written down."""
Value = tuple[str, float, int, int]
"""Name, value, milliseconds since 1970, step."""
METRICS_A_BATCH, STRINGS_A_BATCH, LONGEST_PARAM, LONGEST_TAG = 1000, 100, 6000, 8000
PATIENCE = 2.0
"""Seconds that a store has to answer."""

# We retry by ourselves; MLflow's minutes of retries would only block the thread.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


def absolute(uri: str) -> str:
    """The URI of the same store, independent of the current folder."""
    if not uri.startswith(SQLITE):
        return uri
    return SQLITE + str(Path(uri.removeprefix(SQLITE)).absolute())


def open_experiment(record: RunRecord) -> tuple[MlflowClient, str]:
    """A client and the id of the record's experiment; the store is made if it is a missing file.

    Raises ConnectionError when the store does not answer.
    """
    if not record.uri.startswith(SQLITE):
        probe_server(record.uri)
        return _experiment(record)
    database = Path(record.uri.removeprefix(SQLITE))
    # Concurrent first writers of a new database fail in MLflow.
    with locked(database.with_name(database.name + ".lock")):
        if database.exists():
            probe_database(database)
        if not database.exists() or database.stat().st_size == 0:
            _create(database)
        return _experiment(record)


def _create(database: Path) -> None:
    """Create a database in one step: MLflow would refuse a half-made one for ever."""
    draft, whole = (database.with_name(f".{database.name}.{end}") for end in ("draft", "whole"))
    for left in database.parent.glob(f".{database.name}.*"):
        left.unlink()
    connect(f"{SQLITE}{draft}").search_experiments(max_results=1)
    # A copy, because part of the content may still be in the draft's journal.
    with closing(sqlite3.connect(draft)) as made, closing(sqlite3.connect(whole)) as copy:
        made.backup(copy)
    whole.replace(database)
    for left in database.parent.glob(f".{database.name}.*"):
        left.unlink()


def probe_server(uri: str) -> None:
    """Raise ConnectionError unless something answers at ``uri``, even with an error."""
    try:
        urllib.request.urlopen(uri.rstrip("/") + "/health", timeout=PATIENCE).close()
    except urllib.error.HTTPError as answer:
        answer.close()
    except OSError as error:
        raise ConnectionError(f"no answer from tracking.uri={uri} ({error})") from error


def probe_database(path: Path) -> None:
    """Raise ConnectionError unless the database can be written now."""
    try:
        with closing(sqlite3.connect(path, timeout=PATIENCE)) as connection:
            connection.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        raise ConnectionError(f"tracking.uri={SQLITE}{path} is not writable ({error})") from error


def _experiment(record: RunRecord) -> tuple[MlflowClient, str]:
    client = connect(record.uri)
    found = client.get_experiment_by_name(record.experiment)
    if found is None:
        # A server has its own place for artifacts and cannot use a folder of this machine.
        root = Path(record.artifacts).as_uri() if record.uri.startswith(SQLITE) else None
        # Makes the pages show trainings and not traces of language models.
        tags = {"mlflow.experimentKind": "custom_model_development"}
        return client, client.create_experiment(
            record.experiment, artifact_location=root, tags=tags
        )
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return client, found.experiment_id


def connect(uri: str) -> MlflowClient:
    """A client that prints nothing and does not retry; the user's environment has priority."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # MLflow 3.17 still asks SQLAlchemy 2.1 for a strategy that the latter wants to drop.
    warnings.filterwarnings("ignore", r"The ``noload`` loader strategy", DeprecationWarning)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def find_run(client: MlflowClient, experiment: str, run_id: str, key: str) -> StoredRun | None:
    """The run with this id, or the one created with ``key`` by a process that then died."""
    from mlflow.exceptions import MlflowException

    if run_id:
        try:
            return client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
    found = client.search_runs([experiment], f"tags.`{KEY}` = '{key}'")
    return found[0] if found else None


def log_params(client: MlflowClient, run_id: str, params: dict[str, str]) -> None:
    """Add parameters, cut to the length that MLflow allows."""
    from mlflow.entities import Param

    entries = [Param(name, value[:LONGEST_PARAM]) for name, value in params.items()]
    for batch in _batches(entries, STRINGS_A_BATCH):
        client.log_batch(run_id, params=batch)


def log_tags(client: MlflowClient, run_id: str, tags: dict[str, str]) -> None:
    """Set tags, cut to the length that MLflow allows."""
    from mlflow.entities import RunTag

    entries = [RunTag(name, value[:LONGEST_TAG]) for name, value in tags.items()]
    for batch in _batches(entries, STRINGS_A_BATCH):
        client.log_batch(run_id, tags=batch)


def log_metrics(client: MlflowClient, run_id: str, values: list[Value]) -> None:
    """Add values to the curves, in order; each batch arrives completely or not at all."""
    from mlflow.entities import Metric

    for batch in _batches(values, METRICS_A_BATCH):
        client.log_batch(run_id, metrics=[Metric(*value) for value in batch])


def _batches(entries: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (entries[start : start + size] for start in range(0, len(entries), size))


def delete_artifact(run: StoredRun, uri: str, name: str) -> None:
    """Remove one artifact of a run."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    get_artifact_repository(run.info.artifact_uri, tracking_uri=uri).delete_artifacts(name)
