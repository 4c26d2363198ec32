"""Where the files of a run are: a folder of the run, and one in it for each of its stages.

A run is a list of stages, alone or as a trial of a study whose first stages it shares with others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from omegaconf import OmegaConf

from uda_hydra.engine.lock import locked
from uda_hydra.errors import UserError
from uda_hydra.files import read_json, write_json
from uda_hydra.runs.identity import RECORD
from uda_hydra.runs.stages import Stage

MARK = "folder.json"
"""The file that says what a folder holds."""


class RunLayout:
    """The folders of a run, and how it and its stages are called in MLflow."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._last = stages[-1]
        self._trial = self._last.config.trial
        table = self._last.config.table
        self._table = None if table is None else Path(table)
        self.names = [stage.name for stage in stages]
        self.top = self._last.folder.parent
        """The folder of the whole run."""
        self.study = None if self._trial.study is None else Path(self._trial.study)
        """The folder of its study."""
        self.grouped = len(stages) > 1
        """Whether MLflow shows the stages below a run of their own; one stage is the run."""

    @property
    def name(self) -> str:
        """What the run is called."""
        if self.study is None:
            return self.top.name
        values = [f"{key.split('.')[-1]}={value}" for key, value in self._swept().items()]
        return " ".join([f"{self._trial.number:04}", *values, f"seed={self._last.config.seed}"])

    def name_of(self, stage: Stage) -> str:
        """What a stage's run is called."""
        return f"{stage.folder.parent.name}/{stage.name}" if self.grouped else self.name

    def tags(self) -> dict[str, str]:
        """By which a trial is found in MLflow."""
        if self.study is None:
            return {}
        own = {"study": self.study.name, "trial": str(self._trial.number)}
        return own | {"seed": str(self._last.config.seed)} | self._swept()

    def _swept(self) -> dict[str, str]:
        found = {key: OmegaConf.select(self._last.config, key) for key in self._trial.swept}
        return {key: str(value) for key, value in found.items() if value is not None}

    def parent(self, stage: Stage) -> Path | None:
        """The folder of the run that a stage is shown below: a shared one belongs to the study."""
        return self.top if self.grouped and not self._shares(stage) else self.study

    def pruned(self, stage: Stage) -> bool:
        """Whether the study's pruner may end the stage."""
        return stage is self._last and self._trial.prune

    @contextmanager
    def held(self, stage: Stage) -> Iterator[None]:
        """Nobody else trains the stage: a second process waits and resumes it if need be."""
        if not self._shares(stage):
            yield
            return
        with locked(stage.folder, wait=True):
            yield

    def _shares(self, stage: Stage) -> bool:
        return stage.folder.parent != self.top

    def check(self) -> None:
        """Raise UserError if the run's folder holds something else than a run of these stages."""
        check_folder(self.top, "training", self.names)
        if self._table is not None:
            check_folder(self._table, "table")

    def mark(self) -> None:
        """Write down that the folder holds this run."""
        mark_folder(self.top, "training", self.names)
        if self._table is not None:
            mark_folder(self._table, "table")


def check_folder(folder: Path, kind: str, stages: Sequence[str] = ()) -> None:
    """Raise UserError if ``folder`` holds what does not go together with ``kind``.

    Two trainings go together if they have a stage in common, or there are none yet.
    """
    held = read_json(folder / MARK) or {}
    former = held.get("kind", kind)
    names = held.get("stages", [])
    if former == kind and (not names or not stages or {*names} & {*stages}):
        if not (folder / RECORD).exists():
            return
        former, names = "training of an earlier version", []
    raise UserError(
        f"{folder} holds another run ({_described(former, names)}; this is "
        f"{_described(kind, stages)}); choose another folder with output=..."
    )


def _described(kind: str, stages: Sequence[str]) -> str:
    return f"{kind} of {', '.join(stages)}" if stages else kind


def mark_folder(folder: Path, kind: str, stages: Sequence[str] = ()) -> None:
    """Write down in ``folder``, made if need be, what it holds."""
    folder.mkdir(parents=True, exist_ok=True)
    former = (read_json(folder / MARK) or {}).get("stages", [])
    values = {"kind": kind} | ({"stages": [*dict.fromkeys([*former, *stages])]} if stages else {})
    if read_json(folder / MARK) != values:
        write_json(folder / MARK, values)
