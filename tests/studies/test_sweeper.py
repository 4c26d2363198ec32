"""Whole sweeps, as processes of their own, of trainings that take no time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.processes import refused, until
from tests.test_launch import launch
from uda_hydra.errors import UserError
from uda_hydra.studies.load import load_study

APP = ROOT / "tests/studies/app.py"
GENTLE = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
BASE = ("-m", "method=source_only", "tracking=none")
AUX = "loss.lambda_seg_aux"


def start(folder: Path, *overrides: str, nap: float = 0.0) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(APP), *BASE, *overrides],
        cwd=folder,
        env=os.environ | {"NAP": str(nap), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def sweep(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return launch(folder, *BASE, *overrides, script=APP)


def study(folder: Path):
    (found,) = (folder / "outputs/studies").iterdir()
    return load_study(found)


def began(folder: Path) -> list[str]:
    """What was trained, in the order of the trials' folders."""
    paths = sorted(folder.glob("outputs/studies/*/trials/*/began.txt"))
    return [line for path in paths for line in path.read_text().splitlines()]


def test_failures_are_recorded_and_the_sweep_goes_on(tmp_path):
    done = sweep(tmp_path, f"{AUX}=0.3,13,14")
    message = refused(done)
    assert "2 trials failed" in message
    assert "retry_failed" in message
    assert "bad luck" in done.stdout
    found = study(tmp_path)
    assert [t.state for t in found.trials].count("complete") == 2
    notes = {t.note for t in found.trials if t.state == "failed"}
    assert notes == {"bad luck", "miou/last of the result is not a finite number"}
    assert found.reference == {AUX: 0.1}
    assert (found.folder / "report/report.html").is_file()
    assert "bad luck" in (found.folder / "trials/0002/error.txt").read_text()
    assert "launch.py -m method=source_only" in found.command

    # The same command: nothing is left, and failures stay failures.
    before = began(tmp_path)
    again = sweep(tmp_path, f"{AUX}=0.3,13,14")
    assert again.returncode == 1
    assert began(tmp_path) == before
    retry = ["hydra.sweeper.retry_failed=true", "hydra.sweeper.max_failures_in_a_row=9"]
    third = sweep(tmp_path, f"{AUX}=0.3,13,14", *retry)
    assert third.returncode == 1
    assert len(began(tmp_path)) == len(before) + 2
    assert not [*tmp_path.glob("outputs/[!s]*")]


@pytest.mark.slow
def test_some_failures_in_a_row_end_the_sweep_and_the_report_is_there(tmp_path):
    more = ["hydra.sweeper.max_failures_in_a_row=2", "hydra.sweeper.n_trials=4"]
    done = sweep(tmp_path, f"{AUX}=13,14,0.2", *more)
    assert "2 trials failed in a row, the last with: miou/last" in refused(done)
    assert [t.state for t in study(tmp_path).trials][:3] == ["complete", "failed", "failed"]
    assert (study(tmp_path).folder / "report/report.html").is_file()


@pytest.mark.parametrize(
    "number",
    [signal.SIGKILL, *(pytest.param(n, marks=pytest.mark.slow) for n in GENTLE)],
)
def test_whatever_ends_a_sweep_the_same_command_goes_on(tmp_path, number):
    command = [f"{AUX}=0.2,0.3"]
    process = start(tmp_path, *command, nap=60)
    until(lambda: len(began(tmp_path)) == 1, process)
    process.send_signal(number)
    process.communicate(timeout=120)
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    assert "running" not in {trial.state for trial in study(tmp_path).trials}
    done = sweep(tmp_path, *command)
    assert done.returncode == 0, done.stderr
    assert "continues trial 0" in done.stdout
    first, second, *_ = study(tmp_path).trials
    assert first.folder == second.folder
    assert (first.state, first.note) == ("interrupted", "interrupted, continued as trial 1")
    assert began(tmp_path) == ["0.1 0", "0.1 0", "0.2 0", "0.3 0"]


def test_a_sweep_outlasts_its_pipe_and_its_folder_alone_is_reported(tmp_path):
    process = start(tmp_path, f"{AUX}=0.2,0.3", nap=1.0)
    assert process.stdout.readline().startswith("study: grid-source_only-streets-")
    process.stdout.close()
    process.stderr.close()
    assert process.wait(timeout=300) == 0
    found = study(tmp_path)
    assert [t.state for t in found.trials] == ["complete"] * 3
    page = found.folder / "report/report.html"
    page.unlink()
    done = launch(tmp_path, "task=report", f"output={found.folder}", "tracking=none")
    assert done.returncode == 0, done.stderr
    assert "3 of 3 trials complete" in done.stdout
    assert page.is_file()


def test_two_processes_do_every_point_once(tmp_path):
    command = [f"{AUX}=0.2,0.3,0.4", "seed=0,1"]
    several = [start(tmp_path, *command, nap=0.3) for _ in range(2)]
    for process in several:
        said = process.communicate(timeout=300)
        assert process.returncode == 0, said
    found = began(tmp_path)
    assert len(found) == len({*found}) == 8
    assert [t.state for t in study(tmp_path).trials] == ["complete"] * 8


def test_a_report_needs_a_study(tmp_path):
    assert "there is no study in" in refused(sweep(tmp_path, f"{AUX}=0.2,0.3", "task=report"))
    assert "lambda_adv to sweep" in refused(sweep(tmp_path, "loss.lambda_adv=1,2"))
    assert not (tmp_path / "outputs").exists()
    assert "sweep=" in refused(launch(tmp_path, "task=report"))


def test_drawn_points_several_objectives_and_the_total(tmp_path):
    command = [f"{AUX}=tag(log,interval(0.01,1))", "objective=[miou/last,seconds]"]
    done = sweep(tmp_path, *command, "hydra.sweeper.n_trials=4")
    assert done.returncode == 0, done.stderr
    found = study(tmp_path)
    assert found.directions == ("maximize", "minimize")
    assert len(found.trials) == 4
    assert found.trials[0].params == {AUX: 0.1}
    assert sweep(tmp_path, *command, "hydra.sweeper.n_trials=6").returncode == 0
    assert len(study(tmp_path).trials) == 6
    done = sweep(tmp_path, *command, "task=report")
    assert done.returncode == 0, done.stderr
    assert "6 of 6 trials complete" in done.stdout


def test_an_unknown_folder_is_no_study(tmp_path):
    with pytest.raises(UserError, match="there is no study"):
        load_study(tmp_path)


@pytest.mark.slow
def test_a_named_folder_is_the_studys(tmp_path):
    assert sweep(tmp_path, f"{AUX}=0.2,0.3", "output='my study'").returncode == 0
    assert len(load_study(tmp_path / "my study").trials) == 3
