"""Where the files of a run are: a folder of the run, and one in it for each of its stages.

A run is a list of stages, alone or as a trial of a study whose first stages it shares with others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from uda_hydra.engine.lock import locked
from uda_hydra.errors import UserError
from uda_hydra.files import read_json, remove_leftovers, shown_value, write_json
from uda_hydra.runs.identity import RECORD
from uda_hydra.runs.results import RESULT
from uda_hydra.runs.stages import Stage

MARK = "folder.json"
"""The file that says what a folder holds."""
KINDS = ("training", "study", "table", "evaluation", "prediction", "stylized data set")
"""What a mark may say."""
STAGE = "stage of a training"
"""What a folder with the record of a training holds; it has no mark."""
HOSTS = {"evaluation": ("training", STAGE)}
"""Kinds in whose folder another may lie, because its files have names of their own."""


class RunLayout:
    """The folders of a run, and how it and its stages are called in MLflow."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._last = stages[-1]
        self._trial = self._last.config.trial
        table = self._last.config.table
        self._table = None if table is None else Path(table)
        self.names = [stage.name for stage in stages]
        self._folders = [stage.folder for stage in stages]
        self.top = self._last.folder.parent
        """The folder of the whole run."""
        self.study = None if self._trial.study is None else Path(self._trial.study)
        """The folder of its study."""
        self.grouped = len(stages) > 1
        """Whether MLflow shows the stages below a run of their own; one stage is the run."""

    @property
    def name(self) -> str:
        """What the run is called; of a trial its point, which a narrow column shows first."""
        if self.study is None:
            return self.top.name
        values = [
            f"{key.split('.')[-1]}={shown_value(value)}" for key, value in self._swept().items()
        ]
        return " ".join([*values, f"seed={self._last.config.seed}", f"#{self._trial.number}"])

    def name_of(self, stage: Stage) -> str:
        """What a stage's run is called."""
        if not self.grouped:
            return self.name
        if self.study is None or self._shares(stage):
            return f"{stage.name} of {(self.study or self.top).name}"
        return f"{self.name} {stage.name}"

    def tags(self, stage: Stage | None = None) -> dict[str, str]:
        """By which the run, or one of its stages, is found in MLflow.

        ``final`` marks the training whose scores are the run's: one for each trial of a study.
        """
        config = (stage or self._last).config
        tags = {"method": config.method.name, "model": _model(config), "seed": str(config.seed)}
        if stage is self._last:
            tags["final"] = "true"
        if self.study is None:
            return tags
        tags["study"] = self.study.name
        if stage is not None and self._shares(stage):
            return tags
        point = {key: str(value) for key, value in self._swept().items()}
        return tags | {"trial": str(self._trial.number)} | point

    def _swept(self) -> dict[str, object]:
        found = {key: OmegaConf.select(self._last.config, key) for key in self._trial.swept}
        return {
            key: _choice(key) if isinstance(value, DictConfig) else value
            for key, value in found.items()
            if value is not None
        }

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
        # Beside the stage: a changed one is moved away with all that lies in it.
        with locked(stage.folder.parent, stage.folder.name, wait=True):
            yield

    def _shares(self, stage: Stage) -> bool:
        return stage.folder.parent != self.top

    def check(self) -> None:
        """Raise UserError if the run's folder holds something else than a run of these stages."""
        check_folder(self.top, "training", self.names, writes=[RESULT])
        for folder in self._folders:
            check_folder(folder, STAGE)
        if self._table is not None:
            check_folder(self._table, "table", writes=["table.md", "table.csv"])

    def mark(self) -> None:
        """Write down that the folder holds this run."""
        mark_folder(self.top, "training", self.names)
        if self._table is not None:
            mark_folder(self._table, "table")


def _model(config: DictConfig) -> str:
    """The name of the network: the user's choice, or the function that builds it."""
    return _choice("model") or config.model._target_.rpartition(".")[2]


def _choice(group: str) -> str | None:
    """The option that the command line, or a default, chose in a config group."""
    return HydraConfig.get().runtime.choices.get(group) if HydraConfig.initialized() else None


class Held(NamedTuple):
    """What a folder holds."""

    kind: str
    stages: tuple[str, ...] = ()
    """Of a training; () if they are not known."""

    def __str__(self) -> str:
        return f"{self.kind} of {', '.join(self.stages)}" if self.stages else self.kind


def held_by(folder: Path) -> Held | None:
    """What ``folder`` holds: by its mark, or where that is missing or damaged by its files.

    None if nothing of ours is there.
    """
    mark = read_json(folder / MARK) or {}
    kind, stages = mark.get("kind"), mark.get("stages", [])
    if kind in KINDS and isinstance(stages, list):
        return Held(kind, tuple(map(str, stages)))
    if (folder / RECORD).exists():
        return Held(STAGE)
    begun = any((path.parent / RECORD).exists() for path in folder.glob("*/config.yaml"))
    return Held("training") if begun else None


def check_folder(
    folder: Path, kind: str, stages: Sequence[str] = (), *, writes: Sequence[str] = ()
) -> None:
    """Raise UserError if ``folder`` holds what does not go together with ``kind``.

    Two trainings go together if both have one stage or both several, and one in common. Without a
    mark the folder must be free of the files that ``kind`` ``writes``.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output={folder} is a file; give a folder")
    held, new = held_by(folder), Held(kind, tuple(stages))
    if held is None:
        if there := [name for name in writes if (folder / name).exists()]:
            raise UserError(
                f"{folder} holds {', '.join(there)}, which no {kind} of this program has written; "
                "choose another folder with output=..."
            )
    elif held.kind not in (kind, *HOSTS.get(kind, ())) or not _go_together(held.stages, stages):
        raise UserError(
            f"{folder} holds another run ({held}; this is {new}); "
            "choose another folder with output=..."
        )


def _go_together(former: Sequence[str], stages: Sequence[str]) -> bool:
    if not former or not stages:
        return True
    return (len(former) > 1) == (len(stages) > 1) and not {*former}.isdisjoint(stages)


def mark_folder(folder: Path, kind: str, stages: Sequence[str] = ()) -> None:
    """Write down in ``folder``, made if need be, what it holds; tidy up after killed processes."""
    folder.mkdir(parents=True, exist_ok=True)
    held = held_by(folder) or Held(kind)
    if held.kind != kind:
        # A guest: the folder stays what it is.
        return
    remove_leftovers(folder)
    names = [*dict.fromkeys([*held.stages, *stages])]
    values = {"kind": kind} | ({"stages": names} if names else {})
    if read_json(folder / MARK) != values:
        write_json(folder / MARK, values)
