"""The run in MLflow that a study is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.studies.made import KEY, curve, trial
from tests.studies.test_spec import AUX, spec_of
from uda_hydra.files import locked
from uda_hydra.studies import outputs
from uda_hydra.studies.report.write import StudyReport


@pytest.fixture
def parent(tmp_path):
    study = f"output='{tmp_path}/study'"
    uri = f"tracking.uri='sqlite:///{tmp_path}/mlflow.db'"
    return outputs.ParentRun(spec_of(f"{AUX}=0.2,0.3", study, uri))


def test_nobody_waits_for_a_server_that_another_process_asks(parent, monkeypatch):
    asked = []

    def send(folder, *, abandoned):
        with locked(folder / "study.lock", wait=False):
            asked.append(folder)
        raise ConnectionError("no answer")

    monkeypatch.setattr(outputs, "send", send)
    parent.open()
    assert len(asked) == 1


def test_the_trials_of_a_study_are_those_that_are_complete(parent, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(outputs, "close_parent", lambda *given, **_: told.append(given[1:]))
    done = curve({0.1: [40.0], 0.2: [41.0]})
    states = ("interrupted", "waiting", "running", "failed", "pruned")
    others = [trial(9, {KEY: 0.3}, 0, 0.5, state=state) for state in states]
    report = StudyReport(tmp_path, (), (), "", {}, 0.41, "")
    parent.close("finished", replace(done, trials=(*done.trials, *others)), report)
    assert told == [("finished", {"trials": 2.0, "best/miou/last": 0.41})]
