"""task=sync: every run is tried, and what training survives it survives."""

from __future__ import annotations

import http.server
import json
import os
import sqlite3
import threading
from contextlib import closing, contextmanager

import pytest

from tests.conftest import composed
from uda_hydra.errors import UserError
from uda_hydra.files import locked
from uda_hydra.tasks.sync import sync
from uda_hydra.tracking.backlog import send_all
from uda_hydra.tracking.sender import LOCK, Sender

LINE = {"step": 9, "time": 1, "values": {"a": 1.0}}
RECORDS = {
    "torn": b'{"uri": "sqlite',
    "empty": b"",
    "binary": b"\xff\x00" * 99,
    "list": b"[1]",
    "deep": b"[" * 100_000,
}
FIELDS = {
    "no params": {"params": None},
    "nested tags": {"tags": {"a": [1]}},
    "started": {"started": "today"},
    "status": {"status": "great"},
}
LINES = {
    "binary": b"\xff\x00\n",
    "list": b"[1]\n",
    "step": json.dumps(LINE | {"step": "a"}).encode() + b"\n",
    "negative": json.dumps(LINE | {"step": -1}).encode() + b"\n",
    "large": json.dumps(LINE | {"step": 2**63}).encode() + b"\n",
    "values": json.dumps(LINE | {"values": [1]}).encode() + b"\n",
    "value": json.dumps(LINE | {"values": {"a": "b"}}).encode() + b"\n",
    "local": json.dumps(LINE | {"local": {"a": "b"}}).encode() + b"\n",
}


@contextmanager
def server(status, body):
    """The address of a server that gives everyone the same answer."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://user:secret@127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture
def runs(store, tmp_path):
    """Makes copies of a run that was never sent, each with something changed."""
    store.train(tmp_path / "model", uri="http://127.0.0.1:9", steps=2)
    text = (tmp_path / "model" / "tracking.json").read_text()
    record = json.loads(text) | {"uri": store.uri}
    lines = (tmp_path / "model" / "metrics.jsonl").read_bytes()

    def make(name, *, card=None, more=b"", **fields):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        mine = record | {"key": name, "name": name, "tags": {"folder": str(folder)}} | fields
        (folder / "tracking.json").write_bytes(json.dumps(mine).encode() if card is None else card)
        (folder / "metrics.jsonl").write_bytes(lines + more)
        return folder

    return make


def names(store):
    return sorted(run.info.run_name for run in store.runs())


def test_a_damaged_folder_stops_no_other(store, runs, tmp_path):
    damaged = {runs(f"record {name}", card=card) for name, card in RECORDS.items()}
    damaged |= {runs(f"field {name}", **fields) for name, fields in FIELDS.items()}
    lost = [runs(f"lines {name}", more=more) for name, more in LINES.items()]
    pipes = [runs("a pipe as record"), runs("a pipe as log")]
    for folder, name in zip(pipes, ("tracking.json", "metrics.jsonl"), strict=True):
        (folder / name).unlink()
        os.mkfifo(folder / name)
    whole = [runs("a whole one"), runs("cut short", more=b'{"step": 3')]
    whole += [runs("without its parent", parent=str(min(damaged)))]
    spoiled = ('{"run_id": 3}', "", '{"run_id": "../x", "files": {}}')
    for folder, notes in zip(whole, spoiled, strict=True):
        (folder / "mlflow.json").write_text(notes)
    done = send_all(tmp_path / "runs")
    assert done.failures.keys() == {*damaged, *lost, *pipes}
    assert all("tracking.json is damaged" in done.failures[folder] for folder in damaged)
    assert all("1 lines of metrics.jsonl are damaged" in done.failures[folder] for folder in lost)
    assert names(store) == sorted(folder.name for folder in [*whole, *lost, pipes[1]])
    # Of each whole run two losses, and the load of the processor and the memory.
    assert done.sent == 4 * len(whole)
    # What was sent is safe, whatever the log says.
    assert send_all(tmp_path / "runs").failures.keys() == {*damaged, *pipes}


def test_a_store_that_fails_stops_no_other_and_is_asked_once(store, runs, tmp_path, capsys):
    with closing(sqlite3.connect(tmp_path / "foreign.db")) as connection, connection:
        connection.execute("CREATE TABLE songs (name TEXT)")
    with server(500, b"boom") as broken, server(200, b"<html>\nlog in") as page:
        for uri in (broken, page, "http://127.0.0.1:9", "ftp://user:secret@host", " ", "file:./x"):
            runs(f"{len([*tmp_path.glob('runs/*')])} first", uri=uri)
            runs(f"{len([*tmp_path.glob('runs/*')])} second", uri=uri)
        runs("foreign", uri=f"sqlite:///{tmp_path}/foreign.db")
        runs("masked", uri="http://user:***@host")
        runs("whole")
        config = composed(f"output={tmp_path / 'runs'}", "task=sync")
        with pytest.raises(UserError) as failure:
            sync(config, [])
    first, *lines = str(failure.value).splitlines()
    assert first == "14 of 15 runs are not sent:"
    assert len(lines) == 14
    assert all(len(line) < 700 and line.startswith(f"  {tmp_path}/runs/") for line in lines)
    assert "secret" not in str(failure.value)
    # The same words: the second run of a store is not a second attempt.
    reasons = [line.partition(": ")[2] for line in lines[:12]]
    assert [reasons.count(reason) for reason in reasons] == [2] * 12
    assert names(store) == ["whole"]
    assert capsys.readouterr().out.endswith(" values sent\n")


def test_sync_says_which_runs_it_leaves_alone(store, runs, tmp_path, capsys):
    for name in ("whole", "deleted", "busy"):
        runs(name)
    send_all(tmp_path / "runs")
    for run in store.runs():
        if run.info.run_name == "deleted":
            store.client.delete_run(run.info.run_id)
    config = composed(f"output={tmp_path / 'runs'}", "task=sync")
    with locked(tmp_path / "runs/busy" / LOCK):
        sync(config, [])
    assert capsys.readouterr().out == (
        "0 values sent; 1 runs are sent by their own processes; 1 runs were deleted in MLflow\n"
    )


def test_damaged_lines_are_counted_once(runs, monkeypatch):
    def fail(*arguments):
        raise OSError("no route")

    sender = Sender(runs("damaged", more=LINES["list"]))
    with monkeypatch.context() as patch:
        patch.setattr(Sender, "_send_status", fail)
        with pytest.raises(OSError, match="no route"):
            sender.send()
    sender.send()
    sender.close()
    assert sender.damaged == 1


def test_a_password_reaches_no_file(store, tmp_path):
    with server(500, b"boom") as uri:
        config = {"tracking": {"uri": uri}}
        store.train(tmp_path, uri=uri, steps=1, config=config, facts={"command": f"x uri={uri}"})
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"secret" not in path.read_bytes(), path


def test_sync_refuses_a_uri_that_cannot_work(tmp_path):
    config = composed(f"output={tmp_path}", "task=sync", "tracking.uri=file:./x")
    with pytest.raises(UserError, match="MLflow does not write into"):
        sync(config, [])
