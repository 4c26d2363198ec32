"""What may have become of a JSON file of a run, and what may stand in the place of a file."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

KINDS = (
    *("empty", "half", "binary", "deep", "list", "number", "null"),
    *("no keys", "keys missing", "other types"),
)


def damaged(content: bytes, kind: str) -> bytes:
    """The bytes of a file after a damage of this kind."""
    fixed = {
        "empty": b"",
        "half": content[: len(content) // 2],
        "binary": b"\xff\xfe\x00{}",
        "deep": b"[" * 100_000,
        "list": b"[1]",
        "number": b"3",
        "null": b"null",
        "no keys": b"{}",
    }
    if kind in fixed:
        return fixed[kind]
    try:
        values = json.loads(content)
    except ValueError:
        return fixed["half"]
    if kind == "keys missing":
        values = dict([*values.items()][::2])
    else:
        values = {key: _other(value) for key, value in values.items()}
    return json.dumps(values).encode()


def _other(value: Any) -> Any:
    """A value of another type."""
    return [3] if isinstance(value, str | dict) else "three"


def make_irregular(path: Path, what: str) -> None:
    """Put at ``path`` what is no regular file; nothing for another word. Pipes have no writer."""
    if what == "pipe":
        os.mkfifo(path)
    elif what == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif what == "device":
        path.symlink_to("/dev/zero")
    elif what == "folder":
        path.mkdir()
    elif what == "broken link":
        path.symlink_to("nowhere")
