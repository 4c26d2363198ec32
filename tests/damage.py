"""What may have become of a JSON file of a run."""

from __future__ import annotations

import json
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
