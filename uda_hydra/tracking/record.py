"""``tracking.json``: what a tracking store holds of a run besides metrics and files."""

from __future__ import annotations

import os
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from pathlib import Path
from types import NoneType

from uda_hydra.files import read_json, write_json
from uda_hydra.tracking.uri import database_path, hide, reveal, with_path

RECORD = "tracking.json"
STATUS = {
    "running": "RUNNING",
    "finished": "FINISHED",
    "interrupted": "KILLED",
    "pruned": "KILLED",
    "failed": "FAILED",
}
"""How a run ended, in our words, which its tag ``state`` holds, and in MLflow's."""
FOLDER = "folder"
"""Tag with the folder that the record was written in."""
KINDS: dict[str, type | tuple[type, ...]] = {
    "tags": dict,
    "params": dict,
    "started": int,
    "parent": (str, NoneType),
    "ended": (int, NoneType),
    "dataset": (dict, NoneType),
    "views": dict,
}
"""Types of the fields that are no text."""


@dataclass
class RunRecord:
    """The description of a run; only the training process writes it."""

    uri: str
    experiment: str
    artifacts: str
    """Root of the artifacts of a new experiment in a database; a server has its own."""
    name: str
    key: str
    """Drawn at the run's first start; a store is searched for it before a run is created."""
    parent: str | None
    """Folder of the run this one is a part of."""
    tags: dict[str, str]
    params: dict[str, str]
    started: int
    status: str = "running"
    """"running", or how the run ended: "finished", "interrupted", "pruned", "failed"."""
    ended: int | None = None
    dataset: dict[str, str] | None = None
    """Arguments of MLflow's ``Dataset``; None where the data are not known yet."""
    weights: str = "none"
    """``last`` or ``best``: which weights of a finished training are logged as a model."""
    views: dict[str, str] = field(default_factory=dict)
    """Saved views of the experiment: key to state."""

    def write(self, folder: Path) -> None:
        """Replace the record in ``folder``; a password in the URI stays in memory."""
        write_json(folder / RECORD, asdict(self) | {"uri": hide(self.uri)})

    @classmethod
    def read(cls, folder: Path) -> RunRecord | None:
        """The record in ``folder``, its paths as they are now; None if absent or damaged."""
        path = folder / RECORD
        values = read_json(path) if path.is_file() else None
        if values is None:
            return None
        # Records of earlier versions lack the fields that have a default.
        known = {one.name: values.get(one.name, _default(one)) for one in fields(cls)}
        if not all(_fits(name, value) for name, value in known.items()):
            return None
        record = cls(**known)
        record.uri = reveal(record.uri)
        record._follow(folder.absolute())
        return record

    def _follow(self, folder: Path) -> None:
        """Correct the paths if the folder was moved, with what lies around it or alone."""
        before = Path(self.tags.get(FOLDER, folder))
        if before == folder or not before.is_absolute():
            return

        def moved(path: Path | str) -> Path:
            return Path(os.path.normpath(folder / os.path.relpath(path, before)))

        def here(path: Path) -> Path:
            gone = not path.exists() and not path.parent.exists()
            return moved(path) if gone or moved(path).exists() else path

        database = database_path(self.uri)
        if database is not None and here(database) != database:
            self.uri = with_path(self.uri, here(database))
            self.artifacts = str(moved(self.artifacts))
        if self.parent is not None:
            self.parent = str(here(Path(self.parent)))
        self.tags[FOLDER] = str(folder)


def _default(one: Field) -> object:
    """What a field holds in a record that lacks it; ``...``, which fits none, if it must not."""
    if one.default_factory is not MISSING:
        return one.default_factory()
    return ... if one.default is MISSING else one.default


def _fits(name: str, value: object) -> bool:
    """Whether a value read from a file is one that we write."""
    if not isinstance(value, KINDS.get(name, str)):
        return False
    if name == "status":
        return value in STATUS
    return not isinstance(value, dict) or all(isinstance(text, str) for text in value.values())
