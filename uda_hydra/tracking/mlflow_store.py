"""All access to MLflow, which is slow to import and therefore imported late."""

from __future__ import annotations

import logging
import os
import socket
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from uda_hydra.files import locked, mask
from uda_hydra.tracking.database import (
    Schema,
    check_database,
    create_database,
    is_same_folder,
    replace_links,
    run_ids,
)
from uda_hydra.tracking.record import RunRecord
from uda_hydra.tracking.uri import check_uri, database_path, is_database, is_server

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as StoredRun
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

log = logging.getLogger(__name__)

HOME = "uda_hydra.home"
"""Tag of an experiment: the machine and the path of the database that its links were made for."""
PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
"""Where servers of databases listen, unless a URI says otherwise."""
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
    # An error reaches the user once, as our own line; MLflow would log its traceback too.
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


class StoreError(ConnectionError):
    """A store cannot be used, whichever run is sent to it."""


class Store(NamedTuple):
    """An experiment in a store, and where this machine finds its artifacts."""

    client: MlflowClient
    experiment: str
    location: str
    """URI of the folder that holds the artifacts, as the store has it."""
    root: str
    """The same folder as a URI of this machine; it differs where a project is mounted elsewhere."""

    def artifacts(self, uri: str) -> ArtifactRepository:
        """What writes and removes the files of a run or a model, whose place in the store is
        ``uri``."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        if self.root != self.location and uri.startswith(f"{self.location}/"):
            uri = self.root + uri.removeprefix(self.location)
        return get_artifact_repository(uri, tracking_uri=self.client.tracking_uri)


def open_store(record: RunRecord, *, adopt: bool = False) -> Store:
    """The record's experiment; a database that is a missing file, or empty, is made.

    ``adopt``: this machine is the one whose paths the database is to hold from now on. Raises
    StoreError when the store does not answer or cannot be used.
    """
    try:
        return _open(record, adopt=adopt)
    except Exception as error:  # SQLAlchemy, SQLite, requests and MLflow each have their own
        raise StoreError(str(error) or repr(error)) from error


def _open(record: RunRecord, *, adopt: bool) -> Store:
    check_uri(record.uri)
    database = database_path(record.uri)
    if database is None:
        probe(record.uri)
        return _experiment(record, None, adopt=adopt)
    # Concurrent first writers of a new database fail in MLflow.
    with locked(database.with_name(database.name + ".lock")):
        if database.exists() and database.stat().st_size > 0:
            check_database(database, current_schema())
        else:
            create_database(database, _fill, current_schema())
            _forget(record.uri)
        return _experiment(record, database, adopt=adopt)


def _fill(database: Path) -> None:
    """Let MLflow make its tables in a file."""
    uri = f"sqlite:///{database}"
    try:
        connect(uri).search_experiments(max_results=1)
    finally:
        _forget(uri)


def _forget(uri: str) -> None:
    """Close MLflow's connections to a file that was there before: it keeps them for ever."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    engine = SqlAlchemyStore._engine_map.pop(uri, None)
    if engine is not None:
        engine.dispose()


def probe(uri: str) -> None:
    """Raise ConnectionError unless something listens at ``uri``, whatever it answers."""
    try:
        if is_server(uri):
            parts = urlsplit(uri)
            bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
            urllib.request.urlopen(bare.rstrip("/") + "/health", timeout=PATIENCE).close()
        elif is_database(uri):
            from sqlalchemy.engine import make_url

            url = make_url(uri)
            address = (url.host, url.port or PORTS[url.get_backend_name()])
            socket.create_connection(address, timeout=PATIENCE).close()
    except urllib.error.HTTPError as answer:
        answer.close()
    except (OSError, HTTPException, ValueError) as error:
        raise ConnectionError(f"no answer from tracking.uri={mask(uri)} ({error})") from error


def _experiment(record: RunRecord, database: Path | None, *, adopt: bool) -> Store:
    client = connect(record.uri)
    found = client.get_experiment_by_name(record.experiment)
    if found is None:
        # A server has its own place for artifacts and cannot use a folder of this machine.
        root = Path(record.artifacts).as_uri() if is_database(record.uri) else None
        # Makes the pages show trainings and not traces of language models.
        tags = {"mlflow.experimentKind": "custom_model_development"}
        if database is not None:
            tags[HOME] = _home(database)
        number = client.create_experiment(record.experiment, artifact_location=root, tags=tags)
        found = client.get_experiment(number)
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    location = found.artifact_location.rstrip("/")
    store = Store(client, found.experiment_id, location, location)
    if not (is_database(record.uri) and location.startswith("file:")):
        return store
    return _placed(store, found.tags, Path(record.artifacts), database, adopt=adopt)


def _placed(
    store: Store, tags: Mapping[str, str], new: Path, database: Path | None, *, adopt: bool
) -> Store:
    """The store with the artifacts' folder of this machine.

    A project may have been moved or copied, and machines that share it may mount it differently.
    The links in the database follow a move on the machine that made it; other machines only
    write to the right place, because both would correct the links again and again.
    """
    from mlflow.utils.file_utils import local_file_uri_to_path

    old = Path(local_file_uri_to_path(store.location))
    if is_same_folder(old, new):
        return store
    host, _, path = tags.get(HOME, "").partition(":")
    ids = [] if database is None else run_ids(database, store.experiment)
    present = any((new / run).exists() for run in ids)
    moved = path not in ("", str(database)) and present
    if old.exists() and not moved:
        return store
    placed = store._replace(root=new.as_uri())
    mine = adopt or host in ("", socket.gethostname())
    if database is None or not mine or (ids and not present):
        log.warning("artifacts are written to %s; links in the store point to %s", new, old)
        return placed
    replace_links(database, store.location, placed.root)
    store.client.set_experiment_tag(store.experiment, HOME, _home(database))
    log.warning("the project was moved: artifacts in %s are now found in %s", old, new)
    return placed._replace(location=placed.root)


def _home(database: Path) -> str:
    return f"{socket.gethostname()}:{database}"


def connect(uri: str) -> MlflowClient:
    """A client that prints nothing and does not retry; the user's environment has priority."""
    _prepare()
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def current_schema() -> Schema:
    """What a database of this version of MLflow holds."""
    _prepare()
    from mlflow.store.db.base_sql_model import Base
    from mlflow.store.db.utils import _get_latest_schema_revision

    return Schema(frozenset(Base.metadata.tables), _get_latest_schema_revision())


def _prepare() -> None:
    """Settings that must be there before MLflow is imported."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # MLflow 3.17 still asks SQLAlchemy 2.1 for a strategy that the latter wants to drop.
    warnings.filterwarnings("ignore", r"The ``noload`` loader strategy", DeprecationWarning)


def find_run(client: MlflowClient, experiment: str, run_id: str, key: str) -> StoredRun | None:
    """The run with this id, or the one created with ``key`` by a process that then died."""
    from mlflow.exceptions import MlflowException

    if run_id:
        try:
            return client.get_run(run_id)
        except MlflowException as error:
            # An id that a damaged file holds is no valid one.
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
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


def log_dataset(client: MlflowClient, run: StoredRun, dataset: dict[str, str]) -> None:
    """Show what a run was trained on; a run has it once."""
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

    logged = run.inputs.dataset_inputs if run.inputs else []
    if not any(one.dataset.digest == dataset["digest"] for one in logged):
        context = InputTag(MLFLOW_DATASET_CONTEXT, "training")
        client.log_inputs(run.info.run_id, [DatasetInput(Dataset(**dataset), [context])])


def log_metrics(client: MlflowClient, run_id: str, values: list[Value]) -> None:
    """Add values to the curves, in order; each batch arrives completely or not at all."""
    from mlflow.entities import Metric

    for batch in _batches(values, METRICS_A_BATCH):
        client.log_batch(run_id, metrics=[Metric(*value) for value in batch])


def _batches(entries: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (entries[start : start + size] for start in range(0, len(entries), size))
