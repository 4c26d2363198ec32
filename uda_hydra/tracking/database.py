"""The SQLite file of a local store: made whole or not at all, recognised, moved with its project.

Whoever calls these functions holds the file's lock, except for ``check_database``.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from uda_hydra.files import write_atomically

PATIENCE = 2.0
"""Seconds that another writer may hold the database."""
LINKS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Columns of MLflow's tables with the place of artifacts."""
REFILL = "start again, and python launch.py task=sync output=... fills the new one from its runs"


class Schema(NamedTuple):
    """What a database of the installed MLflow consists of."""

    tables: frozenset[str]
    version: str


def create_database(path: Path, fill: Callable[[Path], None], schema: Schema) -> None:
    """Create the database in one step: MLflow would refuse a half-made one for ever.

    ``fill`` makes MLflow's tables in the file it is given, whose name no other attempt uses:
    MLflow keeps connections by name, also to files that are gone. Raises ConnectionError if another
    program is just filling an empty file of this name.
    """
    if path.exists():
        _check_writable(path)
    _sweep(path)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.draft")
    try:
        fill(draft)
        check_tables(draft, schema)
        # A copy, because part of the content may still be in the draft's journal.
        write_atomically(path, lambda whole: _copy(draft, whole, schema))
    finally:
        _sweep(path)


def _copy(source: Path, target: Path, schema: Schema) -> None:
    with closing(sqlite3.connect(source)) as made, closing(sqlite3.connect(target)) as copy:
        made.backup(copy)
    check_tables(target, schema)


def _sweep(path: Path) -> None:
    """Remove the drafts of attempts that failed or were killed."""
    for left in path.parent.glob(f".{path.name}.*"):
        left.unlink()


def check_database(path: Path, schema: Schema) -> None:
    """Raise ConnectionError unless ``path`` holds MLflow's tables and can be written now."""
    try:
        _check_writable(path)
        check_tables(path, schema)
    except sqlite3.OperationalError as error:
        raise ConnectionError(f"{path} does not answer ({error})") from error
    except sqlite3.DatabaseError as error:
        raise ConnectionError(
            f"{path} is damaged or not a SQLite database ({error}); choose another tracking.uri, "
            f"or move the file away and {REFILL}"
        ) from error


def _check_writable(path: Path) -> None:
    try:
        with closing(sqlite3.connect(path, timeout=PATIENCE)) as connection:
            connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        raise ConnectionError(f"{path} is not writable ({error})") from error


def check_tables(path: Path, schema: Schema) -> None:
    """Raise ConnectionError unless MLflow's tables are complete and of its current version."""
    with closing(sqlite3.connect(path, timeout=PATIENCE)) as connection:
        found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        tables = {name for (name,) in found}
        if "experiments" not in tables and tables - {"alembic_version"}:
            raise ConnectionError(
                f"{path} is the database of another program; choose another tracking.uri"
            )
        version = _first(connection, "alembic_version", "version_num", tables)
        whole = schema.tables <= tables and version == schema.version
        if not whole and _first(connection, "runs", "run_uuid", tables) is None:
            raise ConnectionError(
                f"{path} was never completely made (a full disk or a kill); it holds no run. "
                f"Remove the file and {REFILL}"
            )
    if not whole:
        raise ConnectionError(
            f"{path} was made by another version of MLflow; copy the file and run "
            f"mlflow db upgrade sqlite:///{path}, or install the version that made it"
        )


def _first(connection: sqlite3.Connection, table: str, column: str, tables: set[str]) -> str | None:
    """Any value of a column; None where there is no row or no such table."""
    if table not in tables:
        return None
    row = connection.execute(f"SELECT {column} FROM {table} LIMIT 1").fetchone()
    return row and row[0]


def run_ids(path: Path, experiment: str) -> list[str]:
    """The ids of an experiment's runs, deleted ones included."""
    query = "SELECT run_uuid FROM runs WHERE experiment_id = ?"
    with closing(sqlite3.connect(path, timeout=PATIENCE)) as connection:
        return [run for (run,) in connection.execute(query, [int(experiment)])]


def replace_links(path: Path, old: str, new: str) -> None:
    """Let all artifacts below the URI ``old`` be looked for below ``new``."""
    with closing(sqlite3.connect(path, timeout=PATIENCE)) as connection, connection:
        for table, column in LINKS:
            connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
            )


def is_same_folder(one: Path, other: Path) -> bool:
    """Whether two paths are one folder, by name or through links and mounts."""
    if one == other:
        return True
    return one.exists() and other.exists() and one.samefile(other)
