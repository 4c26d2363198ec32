from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from uda_hydra.tracking.mlflow_store import open_store
from uda_hydra.tracking.record import RunRecord


def test_a_database_that_was_killed_half_made_is_made_again(tmp_path, monkeypatch):
    database = tmp_path / "mlflow.db"
    card = RunRecord(
        uri=f"sqlite:///{database}",
        experiment="streets",
        artifacts=str(tmp_path / "artifacts"),
        name="run",
        key="key",
        parent=None,
        tags={},
        params={},
        started=0,
    )

    def killed(self, target):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            open_store(card)
    assert not database.exists()
    store = open_store(card)
    assert store.client.get_experiment(store.experiment).name == "streets"
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db", "mlflow.db.lock"]
