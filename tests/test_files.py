"""Files that any program can read."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess

import pytest

from uda_hydra.files import (
    csv_cell,
    mask,
    masked,
    move_aside,
    read_json,
    remove_leftovers,
    write_atomically,
    write_json,
)


def test_numbers_that_are_not_finite_are_null_at_any_depth(tmp_path):
    values = {"a": math.nan, "b": [1.5, -math.inf, {"c": (math.inf, "nan", True, None)}]}
    write_json(tmp_path / "x.json", values)

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    read = json.loads((tmp_path / "x.json").read_text(), parse_constant=refuse)
    assert read == {"a": None, "b": [1.5, None, {"c": [None, "nan", True, None]}]}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:secret@host:5000/a", "http://me:***@host:5000/a"),
        ("tracking.uri='postgresql://me:se/c@ret@h/db'", "tracking.uri='postgresql://me:***@h/db'"),
        ("postgresql://me:se cret@h/db", "postgresql://me:***@h/db"),
        ("'u=http://host:5000' a@b.pt", "'u=http://host:5000' a@b.pt"),
        ("http://:secret@host and http://other:1", "http://:***@host and http://other:1"),
        ("postgresql://h/db?user=me&password=secret", "postgresql://h/db?user=me&password=***"),
        ("http://h/?a=1&API_TOKEN=secret&b=2", "http://h/?a=1&API_TOKEN=***&b=2"),
        ("sqlite:////data/a:b.db", "sqlite:////data/a:b.db"),
        ("http://host:5000\nme@there", "http://host:5000\nme@there"),
    ],
)
def test_no_password_is_shown(text, shown):
    assert mask(text) == shown
    assert masked({"a": [text, 1]}) == {"a": [shown, 1]}


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        *[("=1+2", "'=1+2"), ("@a", "'@a"), ("-x", "'-x"), ("-1.5", "-1.5"), ("+0.53", "+0.53")],
        *[("a\tb\033", "a\\tb\\x1b"), (math.nan, ""), (0.25, "0.25"), ("road", "road")],
    ],
)
def test_no_cell_is_a_formula(value, cell):
    assert csv_cell(value) == cell


def test_what_is_no_json_is_read_as_none(tmp_path):
    (tmp_path / "x.json").write_text('{"a": NaN, "b": -Infinity}')
    assert read_json(tmp_path / "x.json") == {"a": None, "b": None}


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path):
    with subprocess.Popen(["sleep", "60"]) as other:
        (tmp_path / "below").mkdir()
        kept = {f".cost.json.{other.pid}.tmp", f".x.{os.getpid()}.tmp", ".x.tmp", "x.9.tmp"}
        ended = subprocess.Popen(["true"])
        ended.wait()
        gone = {f".cost.json.{ended.pid}.tmp", ".next.pt.99999999999.tmp", ".x.0.tmp"}
        (ours,) = temporaries(tmp_path / "below/x")
        elsewhere, old = f".x.{'0' * 8}-{ended.pid}.tmp", f".x.{'0' * 8}-{other.pid}.tmp"
        kept |= {ours, elsewhere, "x"}
        gone |= {ours.replace(f"-{os.getpid()}.", f"-{ended.pid}."), old}
        for name in kept | gone:
            for folder in (tmp_path, tmp_path / "below"):
                (folder / name).touch()
                if name == old:
                    os.utime(folder / name, (1e9, 1e9))
        remove_leftovers(tmp_path)
        assert {path.name for path in tmp_path.iterdir() if path.is_file()} == kept
        assert {path.name for path in (tmp_path / "below").iterdir()} == kept | gone
        remove_leftovers(tmp_path, below=True)
        assert {path.name for path in (tmp_path / "below").iterdir()} == kept
        other.kill()


def test_containers_whose_processes_have_one_number_share_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 1)
    found = set()
    for host in ("worker-0", "worker-1"):
        monkeypatch.setattr(socket, "gethostname", lambda host=host: host)
        found |= {*temporaries(tmp_path / "x")}
    assert len(found) == 2


def temporaries(path):
    """The names of the temporary files through which a file is written."""
    names = []
    write_atomically(path, lambda temporary: (names.append(temporary.name), temporary.touch()))
    return names


def test_what_is_moved_aside_takes_the_first_free_number(tmp_path):
    for number in (1, 2, 4):
        (tmp_path / f"caco.before-{number}").mkdir()
    (tmp_path / "caco.before-3").symlink_to("nowhere")
    for name in ("caco.before-5", "caco.before-6"):
        (tmp_path / "caco").mkdir()
        assert move_aside(tmp_path / "caco") == tmp_path / name
    (tmp_path / "caco.before-2").rmdir()
    (tmp_path / "caco").mkdir()
    assert move_aside(tmp_path / "caco").name == "caco.before-2"
