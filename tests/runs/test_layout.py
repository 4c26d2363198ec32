"""How a run and its stages are called, and found, in MLflow."""

from __future__ import annotations

from pathlib import Path

from tests.studies.test_trainings import stages
from uda_hydra.runs.layout import RunLayout

ADVENT = ("method=advent", 'start.overrides=["method=source_only"]', "seed=5")
TRIAL = (
    *("trial.study=outputs/one", "trial.number=3", "trial.swept=[loss.lambda_adv,method]"),
    *("loss.lambda_adv=0.001234567", "start.folder=outputs/one/start"),
)


def layout(*overrides):
    planned = [*stages(*overrides).values()]
    return RunLayout(planned), planned


def test_a_run_and_its_stages_carry_method_model_and_seed():
    run, (start, advent) = layout(*ADVENT)
    assert run.name == "run"
    assert [run.name_of(start), run.name_of(advent)] == ["start of run", "advent of run"]
    assert run.tags() == {"method": "advent", "model": "deeplabv2", "seed": "5"}
    assert run.tags(start) == run.tags() | {"method": "source_only"}
    assert run.tags(advent) == run.tags() | {"final": "true"}


def test_a_trial_is_called_by_its_point_and_its_stages_carry_study_and_trial():
    run, (start, advent) = layout(*ADVENT, *TRIAL)
    assert run.name.startswith("lambda_adv=0.001235 ") and run.name.endswith(" seed=5 #3")
    assert run.name_of(advent) == f"{run.name} advent"
    place = {"study": "one", "trial": "3", "loss.lambda_adv": "0.001234567"}
    assert place.items() <= run.tags().items()
    assert run.tags(advent) == run.tags() | {"final": "true"}
    # A start that trials share is no part of any of them.
    assert Path(start.folder).parent == Path("outputs/one/start")
    assert run.name_of(start) == "start of one"
    assert run.tags(start) == {
        "method": "source_only",
        "model": "deeplabv2",
        "seed": "5",
        "study": "one",
    }


def test_a_trial_of_one_training_is_that_training():
    run, (advent,) = layout("method=advent", *TRIAL)
    assert run.name_of(advent) == run.name
    assert {"trial": "3", "final": "true"}.items() <= run.tags(advent).items()
