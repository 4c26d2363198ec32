from __future__ import annotations

import errno
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from uda_hydra.tracking import mlflow_store
from uda_hydra.tracking.mlflow_store import StoreError, open_store
from uda_hydra.tracking.record import RunRecord


def record(database, **values):
    fields = {"uri": f"sqlite:///{database}", "experiment": "streets", "name": "run", "key": "key"}
    fields |= {"artifacts": str(database.parent / "artifacts"), "parent": None, "started": 0}
    return RunRecord(**(fields | {"tags": {}, "params": {}} | values))


def test_a_killed_or_failed_attempt_leaves_nothing_to_the_next(blank, tmp_path, monkeypatch):
    database = tmp_path / "mlflow.db"
    names = []

    def full(draft):
        # As on a full disk: some of the tables are there.
        names.append(draft.name)
        shutil.copy(blank, draft)
        with closing(sqlite3.connect(draft)) as connection:
            connection.execute("DROP TABLE runs")
        if len(names) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")

    def killed(self, target):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mlflow_store, "_fill", full)
        with pytest.raises(StoreError, match="No space left"):
            open_store(record(database))
        # Not even without an error does half a database take its place.
        with pytest.raises(StoreError, match="never completely made"):
            open_store(record(database))
    assert len(set(names)) == 2
    with monkeypatch.context() as patch:
        patch.setattr(mlflow_store, "_fill", lambda draft: shutil.copy(blank, draft))
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            open_store(record(database))
    (tmp_path / ".mlflow.db.killed.draft-journal").touch()
    assert not database.exists()
    store = open_store(record(database))
    assert store.client.get_experiment(store.experiment).name == "streets"
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db", "mlflow.db.lock"]


def foreign(path):
    path.unlink()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("CREATE TABLE studies (name TEXT)")


def changed(statement):
    def change(path):
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.executescript(statement)

    return change


RUN = "INSERT INTO runs (run_uuid, experiment_id) VALUES ('a', 0);"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (foreign, "is the database of another program"),
        (changed("DROP TABLE runs; DROP TABLE alembic_version"), "was never completely made"),
        (changed("UPDATE alembic_version SET version_num = 'old'"), "was never completely made"),
        (changed(RUN + "UPDATE alembic_version SET version_num = 'x'"), "mlflow db upgrade"),
        (lambda path: path.write_bytes(b"no database" * 500), "damaged or not a SQLite database"),
        (lambda path: path.write_bytes(path.read_bytes()[:20000]), "damaged"),
    ],
)
def test_what_mlflow_cannot_use_is_named_with_its_remedy_and_left_alone(
    blank, tmp_path, spoil, message
):
    database = tmp_path / "mlflow.db"
    shutil.copy(blank, database)
    spoil(database)
    before = database.read_bytes()
    with pytest.raises(StoreError, match=message) as refusal:
        open_store(record(database))
    assert str(database) in str(refusal.value) and "\n" not in str(refusal.value)
    assert database.read_bytes() == before
