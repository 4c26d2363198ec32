"""The repairs of Optuna 2, and that they are still needed: when one is not, its test fails."""

from __future__ import annotations

import subprocess
import sys

import optuna
import pytest

from uda_hydra.studies import optuna2

only_2 = pytest.mark.skipif(
    not optuna.__version__.startswith("2."), reason="the repairs are for Optuna 2"
)
STUDY = """
import sys, optuna
optuna.logging.set_verbosity(optuna.logging.ERROR)
def value(trial):
    return trial.suggest_float("steep", 0, 1) + 0.1 * trial.suggest_float("flat", 0, 1)
def store(path):
    study = optuna.create_study(storage=f"sqlite:///{path}", study_name="s", load_if_exists=True)
    study.optimize(value, n_trials=2)
    return len(study.trials)
def importance():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    study.optimize(value, n_trials=30)
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return optuna.importance.get_param_importances(study, evaluator=evaluator)
"""
REPAIR = "from uda_hydra.studies import optuna2; optuna2.repair(); optuna2.repair()\n"


def python(code):
    """What a fresh interpreter prints, or its error: a repair would last in this one."""
    return subprocess.run([sys.executable, "-c", STUDY + code], capture_output=True, text=True)


@only_2
def test_without_the_repair_no_study_can_be_kept_in_a_database_and_importance_fails(tmp_path):
    code = f"""
for task in (lambda: store('{tmp_path}/s.db'), importance):
    try:
        print("works now: remove the repair", task())
    except Exception as error:
        print(type(error).__name__, error)
"""
    kept, importance = python(code).stdout.splitlines()
    assert kept.startswith("AssertionError")
    assert "setting an array element with a sequence" in importance


def test_a_repaired_study_goes_on_in_another_process_and_finds_the_steep_parameter(tmp_path):
    code = f"{REPAIR}print(store('{tmp_path}/s.db'))\n"
    assert python(code).stdout.strip() == "2"
    made = python(f"{code}print(*importance())")
    assert made.stdout.splitlines() == ["4", "steep flat"], made.stderr


def test_later_versions_are_left_alone(monkeypatch):
    from optuna.importance._fanova._tree import _FanovaTree

    before = _FanovaTree._get_node_value
    monkeypatch.setattr(optuna, "__version__", "4.9.0")
    monkeypatch.setattr(optuna2, "_node_value", lambda tree, node: 0.0)
    optuna2.repair()
    assert _FanovaTree._get_node_value is before
