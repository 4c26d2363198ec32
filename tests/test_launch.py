"""The command line: one clear message for bad input, and whole small runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from tests.attack import program
from tests.attack.processes import FORK
from tests.conftest import ROOT, SMALL

QUICK = (
    *SMALL[:-2],
    "trainer.steps=4",
    "trainer.evaluate_every=2",
    "trainer.save_every=2",
    "trainer.log_every=1",
)


def launch(folder, *overrides, cold=False, script=ROOT / "launch.py"):
    """Run launch.py, or a program like it, in ``folder``, as a user would from another place.

    The process is forked from one that has imported everything, unless it starts ``cold``.
    """
    if cold:
        command = [sys.executable, str(script), *overrides]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    with tempfile.TemporaryDirectory() as place:
        out, err = Path(place, "out"), Path(place, "err")
        arguments = (folder, [*overrides], out, err, {**os.environ}, script)
        process = FORK.Process(target=program.run_apart, args=arguments)
        process.start()
        process.join(300)
        assert process.exitcode is not None, f"still running:\n{err.read_text()}"
        said = out.read_text(), err.read_text()
        return subprocess.CompletedProcess([*overrides], process.exitcode, *said)


MISTAKES = {
    "trainer.stps=3": ["trainer.stps", "trainer.steps"],
    "dataset=gta": ["gta", "gta2city"],
    "task=trian": ["trian", "train"],
    "method.source_keys=pupil": ["method.source_keys", "student"],
    "init=nowhere.pth": ["init", "nowhere.pth"],
    "dataset.source.root=nowhere": [
        "dataset.source: ",
        "nowhere",
        "Set its root (dataset.source.root ",
        "images",
    ],
    "init=epoch=3.ckpt": ["quotes", "init='epoch=3.ckpt'"],
    "hydra.sweeper.dry_run=true": ["hydra.sweeper.dry_run", "single run", "-m or sweep="],
    "task=report": ["task=report needs the study", "sweep=..."],
    "dataset.height=3": ["dataset.height", "64"],
    "tracking.weights=lats": ["tracking.weights", "last, best, none"],
}
"""One of each kind that is found in another place; tests/test_errors.py has the others."""


@pytest.fixture(scope="module")
def quick(streets):
    """A training of seconds on scenes that other tests have drawn."""
    return (*QUICK, f"dataset.root={streets}")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_in_one_message_and_leaves_nothing(tmp_path, mistake):
    done = launch(tmp_path, mistake)
    message = [line for line in done.stderr.splitlines() if not line.startswith("Error executing")]
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert message[0].startswith("error: ")
    assert len(done.stderr) < 1500
    for word in MISTAKES[mistake]:
        assert word in done.stderr
    assert not (tmp_path / "outputs").exists()


def test_two_stages_leave_their_results_and_a_second_start_does_nothing(tmp_path):
    done = launch(tmp_path, *QUICK, "output=run", cold=True)
    assert done.returncode == 0, done.stderr
    assert "mIoU gain of caco over source" in done.stdout
    for folder in ("run", "run/source", "run/caco"):
        result = json.loads((tmp_path / folder / "result.json").read_text())
        assert {"miou/last", "miou/best", "iou/road", "command", "versions"} <= result.keys()
    assert json.loads((tmp_path / "run/result.json").read_text())["stage"] == "caco"
    state = torch.load(tmp_path / "run/caco/last.pt", weights_only=True)
    assert state["step"] == 4
    assert (tmp_path / "run/caco/best.pt").is_file()
    assert (tmp_path / "outputs/mlflow.db").is_file()
    if "task=sync" in done.stderr:
        assert launch(tmp_path, "task=sync", "output=run").returncode == 0
    for folder, files in {"run": {"result.json"}, "run/caco": {"result.json", "train.log"}}.items():
        notes = json.loads((tmp_path / folder / "mlflow.json").read_text())
        assert files <= notes["files"].keys()

    before = (tmp_path / "run/caco/last.pt").stat().st_mtime_ns
    again = launch(tmp_path, *QUICK, "output=run")
    assert "nothing to do" in again.stdout
    assert (
        again.stdout.splitlines()[1:]
        == done.stdout.splitlines()[-len(again.stdout.splitlines()) + 1 :]
    )
    assert (tmp_path / "run/caco/last.pt").stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_changed_stage_is_redone_with_all_that_read_it_and_nothing_is_lost(tmp_path, quick):
    first = [*quick, "output=run", "tracking=none", "callbacks=none"]
    assert launch(tmp_path, *first).returncode == 0
    later = launch(tmp_path, *first, "loss.lambda_contrast=0.5")
    assert "loss.lambda_contrast: 0.01 -> 0.5" in later.stdout
    assert not (tmp_path / "run/source.before-1").exists()
    assert (tmp_path / "run/caco.before-1/last.pt").is_file()

    early = launch(tmp_path, *first, "+stage.source.trainer.steps=2")
    assert "trainer.steps: 4 -> 2" in early.stdout
    assert (tmp_path / "run/source.before-1/last.pt").is_file()
    assert (tmp_path / "run/caco.before-2/last.pt").is_file()


def test_a_damaged_intermediate_file_is_noticed_and_remade(tmp_path, quick):
    command = [*quick, "output=run", "tracking=none", "callbacks=none"]
    assert launch(tmp_path, *command).returncode == 0
    last = tmp_path / "run/source/last.pt"
    whole = last.read_bytes()
    last.write_bytes(whole[:-100])
    again = launch(tmp_path, *command)
    assert again.returncode == 0, again.stderr
    assert "damaged" in again.stdout
    assert last.read_bytes() == whole


def test_a_folder_belongs_to_one_run(tmp_path, quick):
    command = [*quick, "method=source_only", "output=run", "tracking=none", "callbacks=none"]
    assert launch(tmp_path, *command).returncode == 0
    # Other values: the former training is kept beside the new one.
    other = launch(tmp_path, *command, "seed=1")
    assert "seed: 0 -> 1" in other.stdout
    assert (tmp_path / "run/source_only.before-1/last.pt").is_file()
    assert json.loads((tmp_path / "run/result.json").read_text())["seed"] == "1"
    # Other stages: refused, and nothing is touched.
    before = (tmp_path / "run/result.json").read_bytes()
    other = launch(tmp_path, *quick, "output=run")
    assert other.returncode == 1
    assert "run holds another run (training of source_only; this is" in other.stderr
    assert "output=" in other.stderr
    assert (tmp_path / "run/result.json").read_bytes() == before
    assert not (tmp_path / "run/source").exists()


def test_evaluate_predict_and_check_data(tmp_path):
    command = [*QUICK, "method=source_only", "output=run", "tracking=none", "callbacks=none"]
    assert launch(tmp_path, *command).returncode == 0
    weights = ["init=run/source_only/last.pt", *QUICK]
    scored = launch(tmp_path, "task=evaluate", *weights, "output=scores")
    assert scored.returncode == 0, scored.stderr
    trained = json.loads((tmp_path / "run/result.json").read_text())
    result = json.loads((tmp_path / "scores/evaluation.json").read_text())
    assert result["miou/last"] == trained["miou/last"]
    assert result["init"] == "run/source_only/last.pt"

    # The scenes that are held out have a folder of their own, with fewer images.
    drawings = (tmp_path / "data/streets").glob("v*/GTA5/images")
    images = max(drawings, key=lambda folder: len([*folder.iterdir()]))
    drawn = launch(tmp_path, "task=predict", *weights, f"input={images}", "output=drawn")
    assert drawn.returncode == 0, drawn.stderr
    for kind in ("labels", "colours", "overlays"):
        assert len([*(tmp_path / "drawn" / kind).glob("*.png")]) == 6

    checked = launch(tmp_path, "task=check_data", *QUICK)
    assert checked.returncode == 0, checked.stderr
    assert "source: GTA5" in checked.stdout
    victim = next(images.glob("*.png"))
    victim.write_bytes(victim.read_bytes()[:-20])
    checked = launch(tmp_path, "task=check_data", *QUICK)
    assert checked.returncode == 1
    assert str(victim.name) in checked.stdout


def test_predicting_needs_weights_and_images(tmp_path):
    assert "init=FILE" in launch(tmp_path, "task=predict").stderr
    (tmp_path / "empty").mkdir()
    (tmp_path / "weights.pt").write_bytes(b"")
    said = launch(tmp_path, "task=predict", "init=weights.pt", "input=empty").stderr
    assert "holds no image" in said


def test_any_name_of_a_folder_works_with_stages_and_with_m(tmp_path, quick):
    name = "[run1] données"
    command = [*quick, "tracking=none", "callbacks=none", "trainer.steps=1"]
    staged = launch(tmp_path, *command, f"output='{name}'")
    assert staged.returncode == 0, staged.stderr
    assert (tmp_path / name / "caco/last.pt").is_file()
    swept = ["method=source_only", "seed=0,1", f"output='{name} swept'"]
    done = launch(tmp_path, "-m", *command, *swept)
    assert done.returncode == 0, done.stderr
    # Every point has a folder of its own.
    trials = (tmp_path / f"{name} swept/trials").glob("*/source_only/result.json")
    results = [json.loads(path.read_text()) for path in trials]
    assert len(results) == len({result["miou/last"] for result in results}) == 2
