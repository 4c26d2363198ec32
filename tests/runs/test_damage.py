"""Damaged files of a run: it counts as not finished, or one line says what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from optuna.trial import TrialState, create_trial

from tests.damage import KINDS, damaged
from uda_hydra.data.scan import Statistics
from uda_hydra.engine.artifacts import Artifact
from uda_hydra.engine.cost import Cost
from uda_hydra.errors import UserError
from uda_hydra.runs.identity import RECORD, changes, recorded_by
from uda_hydra.runs.layout import MARK, check_folder, mark_folder
from uda_hydra.runs.results import RESULT, read_result, write_result
from uda_hydra.studies import optuna2
from uda_hydra.studies.load import _trial
from uda_hydra.tasks.evaluate import FILE, _write

IDENTITY = {"config": {"seed": 0}, "content": {}, "data": {"known by": "times", "source": "6, a"}}
SCORES = {"miou/last": 0.5, "miou/best_step": 2, "command": "a", "zero_terms": ["contrast"]}


def identity(folder: Path, damage: Callable[[Path], None]) -> None:
    (folder / RECORD).write_text(json.dumps(IDENTITY))
    assert changes(folder, IDENTITY) == []
    damage(folder / RECORD)
    assert recorded_by(folder) in (None, "times")
    assert changes(folder, IDENTITY)


def result(folder: Path, damage: Callable[[Path], None]) -> None:
    write_result(folder, SCORES, IDENTITY)
    assert read_result(folder, IDENTITY).items() >= SCORES.items()
    assert read_result(folder, IDENTITY | {"config": {"seed": 1}}) is None
    damage(folder / RESULT)
    assert read_result(folder, IDENTITY) is None


def cost(folder: Path, damage: Callable[[Path], None]) -> None:
    (folder / "cost.json").write_text(json.dumps({"seconds": 7.0, "peak_memory_gb": 1.0}))
    damage(folder / "cost.json")
    found = Cost(folder, torch.device("cpu"))
    found.restore()
    # What can be read counts, the rest is nothing.
    assert 0 <= found.total()["seconds"] < 8


def mark(folder: Path, damage: Callable[[Path], None]) -> None:
    stage = folder / "caco"
    stage.mkdir()
    (stage / RECORD).write_text("{}")
    (stage / "config.yaml").write_text("")
    mark_folder(folder, "training", ["caco"])
    damage(folder / MARK)
    # The folders of the stages show what it holds.
    with pytest.raises(UserError, match="holds another run"):
        check_folder(folder, "study")
    check_folder(folder, "training", ["caco"])
    mark_folder(folder, "training", ["caco"])
    assert json.loads((folder / MARK).read_text()) == {"kind": "training", "stages": ["caco"]}


def evaluation(folder: Path, damage: Callable[[Path], None]) -> None:
    _write(folder, SCORES)
    damage(folder / FILE)
    _write(folder, SCORES)
    assert json.loads((folder / FILE).read_text()) == SCORES


def artifact(name: str) -> Callable[[Path, Callable[[Path], None]], None]:
    def reader(folder: Path, damage: Callable[[Path], None]) -> None:
        made = Artifact(folder / "labels", identity={"over": "target"})
        made.write("a", torch.zeros(2))
        made.finish(["a"])
        damage(folder / "labels" / name)
        again = Artifact(folder / "labels", identity={"over": "target"})
        again.write("a", torch.zeros(2))
        again.finish(["a"])
        assert again.keys == ("a",)
        assert not again.keys_missing(["a"])

    return reader


def scan(folder: Path, damage: Callable[[Path], None]) -> None:
    raw_ids = ((7,), (23,))
    found = Statistics("GTA5", ("road", "sky"), (("a.png", 3),), np.array([[1, 2]]), raw_ids)
    (folder / "scan.json").write_text(found.to_json())
    damage(folder / "scan.json")
    # Which the sampler reports as an error of the user.
    with pytest.raises(ValueError):
        Statistics.from_json((folder / "scan.json").read_text())


def trial(folder: Path, damage: Callable[[Path], None]) -> None:
    write_result(folder, SCORES, IDENTITY)
    damage(folder / RESULT)
    optuna2.repair()
    frozen = create_trial(
        state=TrialState.COMPLETE, value=0.5, user_attrs={"seed": 0, "folder": "."}
    )
    found = _trial(frozen, folder, None)
    assert found.values == (0.5,)
    assert found.result or found.note == "result.json is missing or damaged"


READERS = {
    RECORD: identity,
    RESULT: result,
    "cost.json": cost,
    MARK: mark,
    FILE: evaluation,
    "an artifact's identity": artifact("identity.json"),
    "an artifact's done-mark": artifact("done.json"),
    "a scan": scan,
    "the result of a trial": trial,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", READERS)
def test_no_damage_is_a_traceback(tmp_path, name, kind):
    def damage(path: Path) -> None:
        before = path.read_bytes()
        path.write_bytes(damaged(before, kind))
        assert path.read_bytes() != before

    READERS[name](tmp_path, damage)
