"""A study in other programs: what today's Optuna opens, and what this one refuses."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from contextlib import closing

import optuna
import pytest
from optuna.trial import TrialState

from tests.conftest import ROOT
from uda_hydra.errors import UserError
from uda_hydra.studies.export import export_study
from uda_hydra.studies.load import load_study
from uda_hydra.studies.optuna2 import _unified

NEXT = ROOT / ".venv-next/bin/python"
READ = """
import json, sys, optuna
study = optuna.load_study(study_name=sys.argv[1], storage=f"sqlite:///{sys.argv[2]}")
rows = [[t.number, t.state.name, t.values, t.params, t.user_attrs["seed"]] for t in study.trials]
print(json.dumps([optuna.__version__, study.user_attrs["objectives"], rows]))
"""


def rows(path, query):
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchall()


@pytest.fixture
def exported(opened, tmp_path):
    """A study of one failed, one finished and one running training, and its copy."""
    queue = opened("tag(log,interval(0.001,1))", seeds=(0,), total=3)
    for state in (TrialState.FAIL, TrialState.COMPLETE):
        values = [0.5] if state == TrialState.COMPLETE else None
        queue.record(*queue.take(1), state, values, "")
    queue.take(1)
    before = (tmp_path / "study.db").read_bytes()
    file = export_study(tmp_path, None)
    assert (tmp_path / "study.db").read_bytes() == before
    return queue, file


def test_a_copy_has_the_tables_of_later_versions(exported, tmp_path):
    _, file = exported
    assert rows(file, "SELECT version_num FROM alembic_version") == [("v3.2.0.a",)]
    assert rows(file, "SELECT value, value_type FROM trial_values") == [(0.5, "FINITE")]
    kinds = rows(file, "SELECT DISTINCT distribution_json FROM trial_params")
    low, high = 0.001, 1.0
    attributes = {"step": None, "low": low, "high": high, "log": True}
    assert [json.loads(kind) for (kind,) in kinds] == [
        {"name": "FloatDistribution", "attributes": attributes}
    ]
    # Made again, it replaces the former copy.
    assert export_study(tmp_path, None) == file
    assert not [*tmp_path.glob(".*.tmp")]


@pytest.mark.slow
def test_today_s_optuna_reads_the_copy(exported, tmp_path):
    queue, file = exported
    done = subprocess.run(
        [NEXT, "-c", READ, tmp_path.name, file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    version, objectives, found = json.loads(done.stdout)
    assert not version.startswith("2.")
    assert objectives == ["miou/last"]
    assert found == [
        [t.number, t.state.name, t.values, t.params, t.user_attrs["seed"]] for t in queue.trials()
    ]


@pytest.mark.parametrize(
    ("old", "attributes", "name", "new"),
    [
        ("UniformDistribution", {}, "FloatDistribution", {"step": None, "log": False}),
        ("DiscreteUniformDistribution", {"q": 0.5}, "FloatDistribution", {"step": 0.5}),
        ("IntUniformDistribution", {"step": 2}, "IntDistribution", {"step": 2, "log": False}),
        ("IntLogUniformDistribution", {"step": 1}, "IntDistribution", {"step": 1, "log": True}),
        ("CategoricalDistribution", {"choices": [1]}, "CategoricalDistribution", {"choices": [1]}),
    ],
)
def test_distributions_get_their_later_names(old, attributes, name, new):
    found = _unified({"name": old, "attributes": attributes})
    assert found["name"] == name
    assert new.items() <= found["attributes"].items()
    assert "q" not in found["attributes"]


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("v2.4.0.a", r"by an older Optuna.*storage upgrade --storage sqlite:"),
        ("v9.0.0.a", f"by a newer Optuna, and this is Optuna {optuna.__version__}"),
    ],
)
def test_a_study_of_another_optuna_is_refused_in_one_line(exported, tmp_path, version, message):
    with closing(sqlite3.connect(tmp_path / "study.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = ?", (version,))
    with pytest.raises(UserError, match=message) as caught:
        load_study(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_study_has_no_copy(tmp_path):
    with pytest.raises(UserError, match="there is no study"):
        export_study(tmp_path, None)
    assert not [*tmp_path.iterdir()]
