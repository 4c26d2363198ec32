"""The result of a training: a file that counts only with the identity it was made with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from uda_hydra.data.pair import Pair
from uda_hydra.engine.checkpoint import Checkpoints
from uda_hydra.files import digest_of, move_aside, read_json, write_json
from uda_hydra.runs.identity import changes, fingerprints, record, recorded_by
from uda_hydra.runs.stages import Stage

Result = dict[str, Any]

RESULT = "result.json"
CHECKSUM = "checksum"
"""Key of a digest of the other values and of the training's identity."""


def finished_result(stage: Stage, open_pair: Callable[[DictConfig], Pair]) -> Result | None:
    """The result of a stage that has finished with this very config, files and data, else None."""
    checkpoints = Checkpoints(stage.folder)
    by = recorded_by(stage.folder)
    unfinished = by is None or read_json(stage.folder / RESULT) is None
    if unfinished or not checkpoints.is_finished():
        return None
    identity = record(stage.config, fingerprints(open_pair(stage.config), by))
    return None if changes(stage.folder, identity) else read_result(stage.folder, identity)


def write_result(folder: Path, values: Mapping[str, Any], identity: Mapping[str, Any]) -> Result:
    """Write ``result.json`` for the training with this ``record``; returns its values."""
    result = {**values, CHECKSUM: _checksum(values, identity)}
    write_json(folder / RESULT, result)
    return result


def read_result(folder: Path, identity: Mapping[str, Any]) -> Result | None:
    """The result in ``folder``; None if it is absent, damaged or of another training."""
    found = read_json(folder / RESULT)
    whole = found is not None and found.get(CHECKSUM) == _checksum(found, identity)
    return found if whole else None


def _checksum(values: Mapping[str, Any], identity: Mapping[str, Any]) -> str:
    own = {key: value for key, value in values.items() if key != CHECKSUM}
    return digest_of([own, identity], length=16)


def archive_changed_stage(stage: Stage, pair: Pair) -> None:
    """Move aside what was trained with another config, from other files or on other data."""
    # Data can be compared only by what was recorded of them.
    by = recorded_by(stage.folder) or stage.config.fingerprint
    differs = changes(stage.folder, record(stage.config, fingerprints(pair, by)))
    if not differs:
        return
    aside = move_aside(stage.folder)
    print(
        f"{stage.name}: changed, retraining ({'; '.join(differs)}); the former training is in "
        f"{aside}. To resume that one, undo the change and rename it to {stage.folder.name}"
    )
