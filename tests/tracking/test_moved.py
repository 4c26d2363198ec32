"""A project that was moved or copied, or that two machines mount at different places."""

from __future__ import annotations

import shutil
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.tracking.conftest import Store
from uda_hydra.tracking.backlog import send_all
from uda_hydra.tracking.database import replace_links
from uda_hydra.tracking.record import RunRecord

TABLE = "per_class.json"


class Project(Store):
    """A folder with runs and a database of its own."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, "streets")
        self.root = root

    def run(self, name: str) -> None:
        """A training with one table among its files."""
        self.train(self.root / "runs" / name, steps=4)

    def links(self) -> dict[str, Path]:
        """Name of each run's folder to the place where the store looks for its artifacts."""
        return {
            Path(run.data.tags["folder"]).name: Path(urlsplit(run.info.artifact_uri).path)
            for run in self.runs()
        }


@pytest.fixture
def project(tmp_path, store, blank):
    project = Project(tmp_path / "project")
    project.root.mkdir()
    shutil.copy(blank, project.root)
    project.run("first")
    return project


def test_a_moved_project_keeps_its_artifacts_together(project, tmp_path, caplog):
    moved = Project(project.root.rename(tmp_path / "moved"))
    moved.run("second")
    links = moved.links()
    assert links.keys() == {"first", "second"}
    for folder in links.values():
        assert folder.is_relative_to(moved.artifacts) and (folder / TABLE).is_file()
    assert caplog.text.count("the project was moved") == 1
    # What was written at the old place is sent to the new one.
    moved.uri = f"sqlite:///{moved.root}/mlflow.db"
    (moved.root / "mlflow.db").rename(moved.root / "lost.db")
    done = send_all(moved.root)
    assert (done.runs, done.failures) == (2, {})
    assert moved.links().keys() == {"first", "second"}
    assert not project.root.exists()


def test_a_registered_model_moves_too(blank, tmp_path):
    database = Path(shutil.copy(blank, tmp_path))
    with closing(sqlite3.connect(database)) as connection, connection:
        columns = "name, version, source, storage_location"
        row = ("network", 1, "file:///old/models/m-1", "file:///old/models/m-1/artifacts")
        connection.execute(f"INSERT INTO model_versions ({columns}) VALUES (?, ?, ?, ?)", row)
    replace_links(database, "file:///old", "file:///new")
    with closing(sqlite3.connect(database)) as connection:
        found = connection.execute("SELECT source, storage_location FROM model_versions")
        assert [*found] == [("file:///new/models/m-1", "file:///new/models/m-1/artifacts")]


def test_a_copy_leaves_its_original_alone(project, tmp_path):
    before = project.links()
    copy = Project(shutil.copytree(project.root, tmp_path / "copy"))
    copy.run("second")
    assert all(folder.is_relative_to(copy.artifacts) for folder in copy.links().values())
    assert project.links() == before
    assert len([*project.artifacts.iterdir()]) == 1


def test_machines_that_share_a_project_write_to_one_place(project, tmp_path, monkeypatch):
    before = project.links()["first"]
    there = Project(project.root.rename(tmp_path / "mounted"))
    monkeypatch.setattr(socket, "gethostname", lambda: "another")
    there.run("second")
    assert not project.root.exists()
    # The links stay those of the first machine, until the second asks for them.
    assert there.links()["first"] == before
    assert len([*there.artifacts.glob(f"*/artifacts/{TABLE}")]) == 2
    assert send_all(there.root).failures == {}
    assert all((folder / TABLE).is_file() for folder in there.links().values())


def test_an_artifacts_folder_of_the_users_choice_stays(project, tmp_path):
    before = project.links()["first"]
    project.artifacts = tmp_path / "other"
    project.run("second")
    assert project.links()["second"].parents[1] == before.parents[1]
    assert not project.artifacts.exists()


def test_a_run_that_was_moved_alone_keeps_its_store(project, tmp_path):
    run = shutil.move(project.root / "runs" / "first", tmp_path / "archive" / "deep" / "first")
    record = RunRecord.read(run)
    assert (record.uri, record.artifacts) == (project.uri, str(project.artifacts))
    assert record.tags["folder"] == str(run)
