"""The result of a training: a file that counts only with the identity it was made with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uda_hydra.files import digest_of, read_json, write_json

Result = dict[str, Any]

RESULT = "result.json"
CHECKSUM = "checksum"
"""Key of a digest of the other values and of the training's identity."""


def write_result(folder: Path, values: Mapping[str, Any], identity: Mapping[str, Any]) -> Result:
    """Write ``result.json``; returns it as it is read back.

    ``identity`` is the ``record`` of the training.
    """
    write_json(folder / RESULT, {**values, CHECKSUM: _checksum(values, identity)})
    return read_json(folder / RESULT) or {}


def read_result(folder: Path, identity: Mapping[str, Any]) -> Result | None:
    """The result in ``folder``; None if it is absent, damaged or of another training."""
    found = read_json(folder / RESULT)
    whole = found is not None and found.get(CHECKSUM) == _checksum(found, identity)
    return found if whole else None


def _checksum(values: Mapping[str, Any], identity: Mapping[str, Any]) -> str:
    own = {key: value for key, value in values.items() if key != CHECKSUM}
    return digest_of([own, identity], length=16)
