"""Sweeps of real trainings on tiny streets: shared starts, resumed trials, pruning, MLflow."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from hydra import initialize_config_dir

from tests.conftest import CONF, SMALL, composed
from tests.processes import logged, start, until
from tests.test_launch import launch
from uda_hydra.files import digest, digest_of
from uda_hydra.runs.stages import plan
from uda_hydra.studies.load import load_study
from uda_hydra.tracking.mlflow_store import connect
from uda_hydra.tracking.view import link

TINY = (
    *(o for o in SMALL if o != "tracking=none"),
    "trainer.steps=6",
    "trainer.evaluate_every=2",
    "trainer.save_every=1",
    "trainer.log_every=1",
)
START = 'start.overrides=["method=source_only"]'


def stages(*overrides: str):
    given = [*SMALL, "output=run", *overrides]
    config = composed(*given)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return {stage.name: stage for stage in plan(config, given)}


def folders(*overrides: str) -> list[str]:
    return [str(stage.folder) for stage in stages(*overrides).values()]


def test_a_method_of_one_training_can_be_given_a_stage_before_it():
    first, last = stages("method=advent", START, "seed=3", "start.seed=8").values()
    assert (first.name, last.name) == ("start", "advent")
    assert first.config.method._target_.endswith("SourceOnly")
    assert (first.config.seed, last.config.seed) == (8, 3)
    assert last.config.init == "run/start/last.pt"
    assert [*stages("method=caco", START)] == ["source", "caco"]


def test_a_shared_stage_is_named_by_what_decides_it():
    shared = ("method=advent", START, "start.folder='a study/start'")
    first, last = folders(*shared)
    assert first.startswith("a study/start/start-")
    assert last == "run/advent"
    assert stages(*shared)["advent"].config.init == f"{first}/last.pt"
    # What only the last stage knows leaves it the same; a seed does not, unless it is fixed.
    assert folders(*shared, "loss.lambda_adv=0.5", "output=other")[0] == first
    assert folders(*shared, "seed=1")[0] != first
    fixed = (*shared, "start.seed=0")
    assert folders(*fixed, "seed=1")[0] == folders(*fixed, "seed=2")[0] == first
    assert folders(*shared, "loss.lambda_seg=0.5")[0] != first


def test_where_a_study_lies_makes_no_stage_another_one():
    several = ("experiment=adv_da/synthia2city_single_v2", "dataset=streets_synthia2city")
    here = [Path(one) for one in folders(*several, "start.folder=here")]
    there = [Path(one) for one in folders(*several, "start.folder=there")]
    assert [one.name for one in here] == [one.name for one in there]
    assert [one.parent.name for one in here] == ["here", "here", "run"]


def test_a_method_with_stages_shares_those_before_the_last():
    source, caco = stages("method=caco", "start.folder=start").values()
    assert source.folder.parent == Path("start")
    assert caco.config.init == str(source.folder / "last.pt")
    assert str(caco.folder) == "run/caco"


def runs(folder: Path):
    """Name of every run in MLflow, and the name of its parent."""
    client = connect(f"sqlite:///{folder}/outputs/mlflow.db")
    experiment = client.get_experiment_by_name("uda_hydra")
    found = {run.info.run_id: run for run in client.search_runs([experiment.experiment_id])}
    return client, found


@pytest.mark.slow
def test_one_start_serves_all_and_mlflow_shows_study_trial_and_stage(tmp_path):
    command = ["-m", *TINY, "method=advent", START, "start.seed=0"]
    swept = ["loss.lambda_adv=0.001,0.1", "seed=0,1"]
    done = launch(tmp_path, *command, *swept)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "outputs/studies").iterdir()
    (shared,) = (folder / "start").glob("start-*")
    study = load_study(folder)
    inits = {
        json.loads(p.read_text())["content"]["init"]
        for p in folder.glob("trials/*/advent/identity.json")
    }
    assert inits == {digest_of([digest(shared / "last.pt")], length=16)}
    assert all("iou/road" in trial.result for trial in study.trials)
    assert len({trial.values for trial in study.trials}) > 1
    if "task=sync" in done.stderr:
        assert launch(tmp_path, "task=sync").returncode == 0

    client, found = runs(tmp_path)
    names = {key: run.info.run_name for key, run in found.items()}
    tree = {
        run.info.run_name: names.get(run.data.tags.get("mlflow.parentRunId"))
        for run in found.values()
    }
    assert tree[folder.name] is None
    trial = "lambda_adv=0.1 seed=0 #2"
    assert tree[f"start of {folder.name}"] == folder.name
    assert tree[trial] == folder.name
    assert tree[f"{trial} advent"] == trial
    for run in found.values():
        tags = run.data.tags
        assert (tags["study"], tags["model"]) == (folder.name, "deeplabv2_tiny")
        if run.info.run_name.startswith(trial):
            assert (tags["trial"], tags["loss.lambda_adv"]) == ("2", "0.1")
    assert link(folder) in done.stdout
    (parent,) = [run for run in found.values() if run.info.run_name == folder.name]
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["trials"] == 4
    assert "Robust range" in parent.data.tags["robust range"]
    best = max(study.trials, key=lambda trial: trial.values)
    assert parent.data.metrics["best/miou/last"] <= best.values[0]
    assert parent.data.metrics.keys() == {"trials", "best/miou/last"}
    attached = {file.path for file in client.list_artifacts(parent.info.run_id, "report")}
    assert {"report/report.html", "report/trials.csv"} <= attached

    again = launch(tmp_path, *command, *swept, "task=report", "hydra.sweeper.robust_within=7")
    assert again.returncode == 0, again.stderr
    assert f"report: {folder.relative_to(tmp_path)}/report/report.html" in again.stdout
    (sent,) = (tmp_path / "outputs/mlflow-artifacts").glob("*/artifacts/report/report.html")
    assert "within 7 points" in sent.read_text()
    # A clean exit: Triton's bindings complain of objects that are alive when Python ends.
    assert "leaked" not in done.stderr
    # Of a folder that has studies and no single runs.
    assert launch(tmp_path, "task=sync").returncode == 0


@pytest.mark.slow
def test_an_interrupted_trial_goes_on_from_its_own_checkpoint(tmp_path):
    long = [*TINY, "trainer.steps=40", "method=source_only", "loss.lambda_seg_aux=0.2,0.3"]
    process = start(tmp_path, "-m", *long)
    first = tmp_path / "outputs/studies"
    until(lambda: any(len(logged(p.parent)) > 9 for p in first.rglob("metrics.jsonl")), process)
    process.kill()
    process.communicate(timeout=100)
    assert process.returncode == -9
    (folder,) = first.iterdir()
    assert "running" not in {trial.state for trial in load_study(folder).trials}
    done = launch(tmp_path, "-m", *long)
    assert done.returncode == 0, done.stderr
    assert "continues trial 0" in done.stdout
    (folder,) = first.iterdir()
    assert "resuming after step" in (folder / "trials/0000/output.txt").read_text()
    states = [(trial.state, trial.folder.name) for trial in load_study(folder).trials]
    assert states[:2] == [("interrupted", "0000"), ("complete", "0000")]
    whole = launch(tmp_path, *long[:-1], "output=whole", "tracking=none")
    assert whole.returncode == 0, whole.stderr
    assert (folder / "trials/0000/source_only/last.pt").read_bytes() == (
        tmp_path / "whole/source_only/last.pt"
    ).read_bytes()


@pytest.mark.slow
def test_who_comes_second_waits_for_the_start_and_goes_on_if_the_first_dies(tmp_path):
    command = ["-m", *TINY, "method=advent", START, "start.seed=0", "loss.lambda_adv=0.001,0.1"]
    command += ["+stage.start.trainer.steps=60", "tracking=none"]
    first = start(tmp_path, *command)
    studies = tmp_path / "outputs/studies"
    until(lambda: [*studies.glob("*/start/*/last.pt")], first)
    # It cannot finish before the second comes.
    first.send_signal(signal.SIGSTOP)
    second = start(tmp_path, *command)
    until(lambda: len([*studies.glob("*/trials/*/.lock")]) == 2, second)
    said = next(iter(studies.iterdir())) / "trials/0001/output.txt"
    until(lambda: said.is_file() and "is at work" in said.read_text(), second)
    first.kill()
    first.communicate()
    out, err = second.communicate(timeout=300)
    assert second.returncode == 0, err
    assert "start: resuming after step" in said.read_text(), out
    (folder,) = studies.iterdir()
    assert len([*(folder / "start").glob("start-*")]) == 1
    states = [trial.state for trial in load_study(folder).trials]
    assert (states.count("complete"), states.count("interrupted")) == (2, 1)


@pytest.mark.slow
def test_a_pruned_trial_is_no_response(tmp_path):
    # A threshold that no training on six images reaches.
    command = ["-m", *TINY, "method=source_only", "loss.lambda_seg_aux=0.2,0.3"]
    command += ["hydra/sweeper/pruner=threshold", "hydra.sweeper.pruner.lower=0.9"]
    command += ["hydra.sweeper.pruner.n_warmup_steps=3"]
    done = launch(tmp_path, *command)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "outputs/studies").iterdir()
    trials = load_study(folder).trials
    assert [trial.state for trial in trials] == ["pruned"] * 3
    assert all(trial.note.startswith("pruned after step 4, at mIoU") for trial in trials)
    assert not [*folder.glob("trials/*/result.json")]
    _, found = runs(tmp_path)
    tracked = [run for run in found.values() if "trial" in run.data.tags]
    assert [run.info.status for run in tracked] == ["KILLED"] * 3
    assert {run.data.tags["state"] for run in tracked} == {"pruned"}
