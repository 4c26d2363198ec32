from __future__ import annotations

import json
import os
import pwd
import socket
import sqlite3
import statistics
import time
from pathlib import Path

import pytest
import torch
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

from uda_hydra.engine.events import Run
from uda_hydra.files import locked
from uda_hydra.losses import label_shares
from uda_hydra.methods.cfcontra import CFContra
from uda_hydra.tracking import database, metric_log
from uda_hydra.tracking.backlog import send, send_all
from uda_hydra.tracking.mlflow import LOGGED_SERIES, Tracking, close_parent, open_parent
from uda_hydra.tracking.record import RunRecord
from uda_hydra.tracking.sender import LOCK, NOTES, Sender


def sent(root):
    """The number of values that were sent, where nothing fails."""
    done = send_all(root)
    assert done.failures == {}
    return done.sent


STEPS = [(step, 1 / step) for step in range(1, 9)]


def test_a_run_holds_parameters_tags_metrics_files_and_its_end(store, tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    config = {"trainer": {"steps": 8, "compile": False}, "note": "x" * 7000, "init": None}
    facts = {"command": "python launch.py init=a/b.pt", "git (commit)": "abc"}
    for name in ("train.log", "result.json"):
        (tmp_path / name).write_text("{}")
    store.train(tmp_path, steps=8, config=config, facts=facts)
    (run,) = store.runs()
    assert run.info.run_name == "caco on streets"
    assert run.info.status == "FINISHED"
    assert run.data.params == {
        "trainer.steps": "8",
        "trainer.compile": "false",
        "note": "x" * 6000,
        "init": "null",
    }
    assert run.data.tags["command"] == "python launch.py init=a/b.pt"
    assert run.data.tags["git _commit_"] == "abc"
    assert store.history("loss/seg") == STEPS
    assert store.history("miou/last") == [(4, 0.375), (8, 0.375)]
    assert store.history("miou/best") == [(4, 0.5), (8, 0.5)]
    assert store.history("pixel_accuracy") == [(4, 0.75), (8, 0.75)]
    # A class that occurs nowhere has no IoU.
    assert store.history("iou/road") == [(4, 0.75), (8, 0.75)]
    assert store.history("iou/traffic light") == [(4, 0.0), (8, 0.0)]
    assert store.history("iou/bus") == []
    names = {file.path for file in store.client.list_artifacts(run.info.run_id)}
    assert names == {"config.yaml", "per_class.csv", "per_class.json", "result.json", "train.log"}


def test_a_run_says_what_it_was_trained_on_and_by_which_command(store, tmp_path):
    facts = {
        "command": "python launch.py init=a/b.pt",
        "git commit": "0123456789ab-dirty",
        "dataset": "streets",
        "dataset fingerprint": "source: 6 images",
    }
    config = {"dataset": {"root": "data/streets", "source": {"url": "http://me:secret@host"}}}
    for steps in (1, 2):
        store.train(tmp_path, steps=steps, start=steps - 1, facts=facts, config=config)
    (run,) = store.runs()
    # A page shows a source of the type LOCAL from its last slash on: "b.pt".
    assert run.data.tags["mlflow.source.name"] == facts["command"]
    assert run.data.tags["mlflow.source.type"] == "JOB"
    assert run.data.tags["mlflow.source.git.commit"] == "0123456789ab"
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, len(data.dataset.digest)) == ("streets", 8)
    assert json.loads(data.dataset.profile) == {"fingerprint": "source: 6 images"}
    assert json.loads(data.dataset.source)["source"] == {"url": "http://me:***@host"}
    assert [(tag.key, tag.value) for tag in data.tags] == [("mlflow.data.context", "training")]


@pytest.mark.parametrize(
    ("status", "theirs"),
    [("finished", "FINISHED"), ("interrupted", "KILLED"), ("pruned", "KILLED")],
)
def test_a_pruned_run_is_told_from_an_interrupted_one(store, tmp_path, status, theirs):
    store.train(tmp_path, steps=1, status="failed")
    assert [run.data.tags["state"] for run in store.runs()] == ["failed"]
    store.train(tmp_path, steps=2, start=1, status=status)
    (run,) = store.runs()
    assert (run.info.status, run.data.tags["state"]) == (theirs, status)


def test_per_class_tables_name_every_class(store, tmp_path):
    store.train(tmp_path, steps=4)
    table = json.loads((tmp_path / "per_class.json").read_text())
    assert table == {"step": 4, "iou": {"road": 0.75, "traffic light": 0.0, "bus": None}}
    lines = (tmp_path / "per_class.csv").read_text().splitlines()
    assert lines[:2] == ["class,iou,accuracy,precision", "road,0.75,0.75,1.0"]
    assert len(lines) == 4


def test_a_resumed_run_goes_on_without_a_doubled_or_missing_step(store, tmp_path):
    store.train(tmp_path, steps=6, status="interrupted")
    assert [run.info.status for run in store.runs()] == ["KILLED"]
    store.train(tmp_path, steps=8, start=4)
    assert [run.info.status for run in store.runs()] == ["FINISHED"]
    assert store.history("loss/seg") == STEPS
    assert store.history("miou/last") == [(4, 0.375), (8, 0.375)]


def test_a_lost_note_neither_doubles_the_run_nor_its_points(store, tmp_path):
    store.train(tmp_path, steps=8, status="interrupted")
    (tmp_path / "mlflow.json").unlink()
    assert sent(tmp_path) == 0
    store.train(tmp_path, steps=8, start=8)
    assert store.history("loss/seg") == STEPS


def test_a_record_of_an_earlier_version_is_sent_too(store, tmp_path):
    store.train(tmp_path, steps=8, status="interrupted")
    card = tmp_path / "tracking.json"
    new = {"dataset", "weights", "views"}
    old = {key: value for key, value in json.loads(card.read_text()).items() if key not in new}
    card.write_text(json.dumps(old | {"key": "another"}))
    (tmp_path / "mlflow.json").write_text('{"run_id": "", "files": {}}')
    assert sent(tmp_path) > 8
    assert len(store.runs()) == 2


def test_a_fresh_start_goes_on_with_the_run_of_its_folder(store, tmp_path):
    store.train(tmp_path, steps=2, status="failed", config={"trainer": {"workers": 2}})
    # A key that changes no number; where one does, the folder has been moved aside.
    store.train(tmp_path, steps=2, config={"trainer": {"workers": 0}})
    (run,) = store.runs()
    assert (run.info.status, run.data.tags["state"]) == ("FINISHED", "finished")
    assert store.history("loss/seg") == STEPS[:2]


def test_a_resumed_run_stays_in_its_experiment(store, tmp_path, caplog):
    store.train(tmp_path, steps=6, status="interrupted")
    (run,) = store.runs()
    first, store.experiment = store.experiment, f"{store.experiment} renamed"
    store.train(tmp_path, steps=8, start=4)
    assert store.runs() == []
    store.experiment = first
    assert store.history("loss/seg") == STEPS
    assert json.loads((tmp_path / NOTES).read_text())["experiment"] == run.info.experiment_id
    assert caplog.text.count(f"stays in the experiment {first}") == 1


def test_stages_are_children_of_one_parent(store, tmp_path):
    options = {"artifacts": store.artifacts, "config": {"seed": 0}, "tags": {"kind": "stages"}}
    open_parent(store.uri, store.experiment, "two stages", tmp_path, **options)
    for stage in ("source", "caco"):
        store.train(tmp_path / stage, parent=tmp_path, steps=4)
    close_parent(tmp_path, "finished", {"miou/last": 0.25})
    (parent,) = (run for run in store.runs() if run.info.run_name == "two stages")
    children = [run for run in store.runs() if run.info.run_id != parent.info.run_id]
    assert len(children) == 2
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics == {"miou/last": 0.25}
    assert (parent.data.params, parent.data.tags["kind"]) == ({"seed": "0"}, "stages")
    # Again with the same result, and then with another one: the newest is shown.
    for result in (0.25, 0.5):
        open_parent(store.uri, store.experiment, "two stages", tmp_path, **options)
        close_parent(tmp_path, "finished", {"miou/last": result})
    points = store.client.get_metric_history(parent.info.run_id, "miou/last")
    assert [(point.step, point.value) for point in points] == [(0, 0.25), (1, 0.5)]
    assert len(store.runs()) == 3


def test_a_parent_that_never_ended_was_killed_unless_a_part_of_it_is_trained(store, tmp_path):
    parent, child = tmp_path, tmp_path / "trials/0000/caco"
    options = {"artifacts": store.artifacts}
    open_parent(store.uri, store.experiment, "a study", parent, **options)
    store.train(child, parent=parent, steps=1, status="interrupted")

    def status(root=tmp_path):
        send_all(root)
        (run,) = (run for run in store.runs() if run.info.run_name == "a study")
        return run.info.status, run.data.tags["state"]

    assert status() == ("KILLED", "interrupted")
    # A part that is sent alone does not tell how the whole is.
    assert status(child) == ("KILLED", "interrupted")
    close_parent(parent, "finished", {"miou/last": 0.25})
    open_parent(store.uri, store.experiment, "a study", parent, **options)
    with locked(child / LOCK):
        assert status() == ("RUNNING", "running")
    assert status() == ("KILLED", "interrupted")


def test_a_full_disk_at_the_end_of_a_study_is_a_warning(store, tmp_path, monkeypatch, caplog):
    def full(*arguments):
        raise OSError("no space left")

    open_parent(store.uri, store.experiment, "a study", tmp_path, artifacts=store.artifacts)
    monkeypatch.setattr(RunRecord, "write", full)
    monkeypatch.setattr(metric_log, "rewind", full)
    close_parent(tmp_path, "failed", {"miou/last": 0.25})
    assert caplog.text.count("no space left") == 3


def test_files_that_are_gone_here_go_there(store, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "panel_1.png").write_bytes(b"1")
    store.train(tmp_path, steps=1, status="interrupted")
    (folder / "panel_1.png").rename(folder / "panel_2.png")
    store.train(tmp_path, steps=2, start=1)
    (run,) = store.runs()
    files = store.client.list_artifacts(run.info.run_id, "pictures")
    assert [file.path for file in files] == ["pictures/panel_2.png"]


def test_a_store_that_deletes_nothing_gets_all_the_rest_once(store, tmp_path, monkeypatch, caplog):
    def refuse(*arguments):
        raise MlflowException("This store deletes nothing")

    monkeypatch.setattr(LocalArtifactRepository, "delete_artifacts", refuse)
    weights = []
    monkeypatch.setattr(Sender, "_send_weights", lambda *arguments: weights.append(arguments))
    pictures = [tmp_path / "pictures" / f"panel_{number}.png" for number in range(3)]
    pictures[0].parent.mkdir()
    for path in pictures:
        path.write_bytes(b"1")
    store.train(tmp_path, steps=1, status="interrupted")
    for path in pictures[:2]:
        path.unlink()
    store.train(tmp_path, steps=2, start=1)
    assert caplog.text.count("which is gone here: This store deletes nothing") == 1
    assert "tracking failed" not in caplog.text
    assert len(weights) > 1
    # It is asked again the next time.
    monkeypatch.undo()
    store.train(tmp_path, steps=3, start=2)
    assert json.loads((tmp_path / NOTES).read_text())["files"].keys() == {"pictures/panel_2.png"}


def test_a_run_that_a_person_deleted_stays_deleted(store, tmp_path):
    store.train(tmp_path, steps=2, status="interrupted")
    (run,) = store.runs()
    store.client.delete_run(run.info.run_id)
    assert sent(tmp_path) == 0
    assert store.runs() == []


def test_curves_are_bounded_and_the_folder_has_all(store, tmp_path, caplog):
    label = torch.zeros(1, 4, 4, dtype=torch.long)
    shares = {name: share.item() for name, share in label_shares(label, 19).items()}
    losses = {f"loss/{term}": 1.0 for term in CFContra.terms}
    usual = dict.fromkeys(("lr/heads", "speed/steps_per_second", "memory/peak_gb"), 1.0)
    # In the trainer's order, so that the shares come first.
    values = losses | shares | usual
    for start in (0, 2):
        callback = store.tracking()
        callback.on_start(Run("many", tmp_path, 4, start, {}))
        for step in (start + 1, start + 2):
            callback.on_log(step, values)
        callback.on_end("interrupted")
    (run,) = store.runs()
    arrived = run.data.metrics.keys() & values.keys()
    assert len(arrived) == LOGGED_SERIES
    assert losses.keys() | usual.keys() <= arrived
    assert len(store.history("lr/heads")) == 4
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        point = json.loads(line)
        assert point["local"].keys() == values.keys() - arrived
        assert (point["values"] | point["local"]).items() >= values.items()
    warnings = [line for line in caplog.messages if "pseudo_share/" in line]
    assert len(warnings) == 2  # one a process
    assert all(name in warnings[0] for name in values.keys() - arrived)


def test_logging_costs_a_training_next_to_nothing(store, tmp_path):
    callback = store.tracking()
    callback.on_start(Run("quick", tmp_path, 9, 0, {}))
    values = {f"loss/{number}": 1 / (number + 1) for number in range(12)}
    seconds = []
    for step in range(500):
        begun = time.perf_counter()
        callback.on_log(step, values)
        seconds.append(time.perf_counter() - begun)
    callback.on_end("finished")
    assert statistics.median(seconds) < 2e-4
    assert len(store.history("loss/3")) == 500


@pytest.mark.parametrize("listens", [False, True])
def test_a_dead_server_costs_seconds_and_loses_nothing(store, tmp_path, listens):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if listens:  # accepts, and never answers
            server.listen()
        begun = time.monotonic()
        dead = f"http://127.0.0.1:{server.getsockname()[1]}"
        store.train(tmp_path, uri=dead, steps=4, status="interrupted")
        assert time.monotonic() - begun < 5
        with pytest.raises(ConnectionError, match=dead):
            send(tmp_path, abandoned=True)
    store.train(tmp_path, steps=8, start=4)
    assert store.history("loss/seg") == STEPS


def test_a_locked_database_is_waited_for_off_the_training(store, tmp_path, monkeypatch, caplog):
    store.train(tmp_path / "first", steps=1)
    monkeypatch.setattr(database, "PATIENCE", 0.2)
    with sqlite3.connect(store.uri.removeprefix("sqlite:///")) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        store.train(tmp_path / "second", steps=8)
        holder.rollback()
    holder.close()
    assert "task=sync" in caplog.text
    assert len(store.runs()) == 1
    # 8 losses, 5 means and 2 classes at 2 evaluations, 2 of the system.
    assert sent(tmp_path) == 8 + 10 + 4 + 2
    assert sent(tmp_path) == 0
    assert sorted(run.info.status for run in store.runs()) == ["FINISHED", "FINISHED"]


def test_a_store_that_was_wiped_is_filled_again(store, tmp_path):
    other = {"uri": f"sqlite:///{tmp_path}/other.db", "artifacts": tmp_path / "artifacts"}
    store.train(tmp_path / "run", **other, steps=8)
    (tmp_path / "other.db").unlink()
    sent(tmp_path)
    store.uri = other["uri"]
    assert store.history("loss/seg") == STEPS
    (run,) = store.runs()
    assert run.info.status == "FINISHED"
    assert len(store.client.list_artifacts(run.info.run_id)) == 2


def test_sync_leaves_a_living_run_alone_and_calls_a_dead_one_killed(store, tmp_path):
    callback = store.tracking()
    callback.on_start(Run("alive", tmp_path, 9, 0, {}))
    callback.on_log(1, {"loss/seg": 1.0})
    # As after kill -9: the lock is free, and nobody said how it ended.
    card = (tmp_path / "tracking.json").read_text()
    with locked(tmp_path / "other" / "mlflow.lock", wait=False):
        (tmp_path / "other" / "tracking.json").write_text(card)
        assert sent(tmp_path / "other") == 0
    callback.on_end("finished")
    (tmp_path / "tracking.json").write_text(card)
    sent(tmp_path)
    assert [run.info.status for run in store.runs()] == ["KILLED"]


def test_a_user_without_a_name_is_a_number(store, tmp_path, monkeypatch):
    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    store.train(tmp_path, steps=1)
    (run,) = store.runs()
    assert (run.info.status, run.data.tags["mlflow.user"]) == ("FINISHED", "12345")


def test_a_damaged_record_costs_a_resumed_run_nothing(store, tmp_path):
    store.train(tmp_path, steps=6, status="interrupted")
    (tmp_path / "tracking.json").write_bytes(b"\xff")
    log = tmp_path / "metrics.jsonl"
    log.write_bytes(b"\xff\n[1]\n" + log.read_bytes())
    store.train(tmp_path, steps=8, start=4)
    assert store.history("loss/seg") == STEPS


def test_an_end_without_a_start_is_no_matter():
    Tracking("sqlite:///nowhere.db", "x", artifacts=Path("nowhere")).on_end("failed")


def test_evaluations_reach_the_disk_before_anything_else(store, tmp_path):
    callback = store.tracking()
    callback.on_start(Run("disk", tmp_path, 9, 0, {}))
    callback.on_evaluate(store.evaluation(3))
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["step"] == 3
    assert json.loads(line)["values"]["fwiou"] == 0.75
    callback.on_end("failed")
    assert [run.info.status for run in store.runs()] == ["FAILED"]
