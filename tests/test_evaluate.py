"""Evaluation and the label statistics, through the tasks of the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hydra.errors import ConfigCompositionException

from tests.conftest import SMALL, composed
from uda_hydra import build, tasks
from uda_hydra.data.scan import Statistics
from uda_hydra.errors import UserError, explain
from uda_hydra.published import Row
from uda_hydra.runs.checks import check_training


@pytest.fixture
def weights(untrained):
    """An untrained network's checkpoint."""
    return untrained.checkpoints.last


@pytest.fixture
def run(streets, tmp_path, weights):
    """Runs a task and returns what it wrote."""

    def task(name: str, *overrides: str) -> dict:
        folder = tmp_path / "result"
        values = [f"task={name}", f"init={weights}", f"output={folder}", *overrides]
        tasks.run(composed(*SMALL, f"dataset.root={streets}", *values), values)
        return json.loads((folder / "evaluation.json").read_text())

    return task


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("hrda", ["evaluation.window=[24,24]", "evaluation.window_stride=[12,12]"]),
        ("caco_retrain", []),
    ],
)
def test_protocols_of_several_looks_score(run, name, changes):
    # Images of 2048x1024 show nothing more.
    result = run("evaluate", f"evaluation={name}", "evaluation.size=[48,24]", *changes)
    assert 0 < result["pixel_accuracy"] < 1
    assert 0 <= result["miou/last"] < 1


def test_another_evaluation_in_the_same_folder_is_kept(run, tmp_path, capsys):
    first = run("evaluate")
    assert run("evaluate") == first
    run("evaluate", "evaluation=maxsquare")
    kept = tmp_path / "result/evaluation.json.before-1"
    assert f"the evaluation that was there is now {kept}" in capsys.readouterr().out
    assert json.loads(kept.read_text()) == first
    with pytest.raises(UserError, match=r"holds another run \(evaluation; this is prediction\)"):
        run("predict", "input=anywhere")


def test_a_result_says_how_many_classes_are_scored_and_leaves_the_trainings_alone(run, tmp_path):
    training = tmp_path / "result/result.json"
    training.parent.mkdir()
    training.write_text("{}")
    result = run("evaluate")
    assert training.read_text() == "{}"
    undefined = {key.removeprefix("iou/") for key, value in result.items() if value is None}
    assert (
        undefined == {*result["classes_absent"]} and len(undefined) + result["classes_scored"] == 19
    )
    assert result["dataset"] == "streets"


def test_protocols_differ_and_the_common_one_is_the_trainers(run, make_trainer):
    trainer = make_trainer("method=source_only")
    common = run("evaluate")
    assert common["miou/last"] == trainer.evaluate().miou
    shrunk = run("evaluate", "evaluation=maxsquare")
    assert shrunk["pixel_accuracy"] != common["pixel_accuracy"]


def test_an_official_file_scores_as_ours(run, make_trainer, tmp_path):
    trainer = make_trainer("method=proca/adapt", "model=proca_tiny")
    trainer.save()
    ours, official = trainer.checkpoints.last, tmp_path / "model_best.pth"
    tasks.run(composed("task=convert", f"init={ours}", "layout=proca", f"output={official}"), [])
    results = [run("evaluate", "model=proca_tiny", f"init={file}") for file in (ours, official)]
    own = ("init", "command")
    scores, others = ({k: v for k, v in one.items() if k not in own} for one in results)
    assert scores == others


def other_weights(make_trainer, tmp_path):
    trainer = make_trainer("method=source_only", "seed=1", folder=tmp_path / "other")
    trainer.save()
    return trainer.checkpoints.last


def together(*members: tuple[Path, float]) -> str:
    """The override that scores these files with these weights."""
    listed = (f"{{init: '{file}', weight: {weight}}}" for file, weight in members)
    return f"ensemble=[{','.join(listed)}]"


def test_an_ensemble_of_equal_networks_is_the_network(run, weights):
    alone = run("evaluate")
    both = run("evaluate", together((weights, 0.5), (weights, 0.5)))
    assert both.pop("ensemble") == [{"init": str(weights), "weight": 0.5}] * 2
    assert "init" not in both
    assert both["pixel_accuracy"] == alone["pixel_accuracy"]
    assert both["miou/last"] == alone["miou/last"]


def test_who_weighs_more_decides(run, weights, make_trainer, tmp_path, capsys):
    other = other_weights(make_trainer, tmp_path)
    first, second = run("evaluate"), run("evaluate", f"ensemble=[{{init: '{other}'}}]")
    assert first["pixel_accuracy"] != second["pixel_accuracy"]
    for light, heavy, winner in ((weights, other, second), (other, weights, first)):
        both = run("evaluate", together((light, 1), (heavy, 1e6)))
        assert both["pixel_accuracy"] == pytest.approx(winner["pixel_accuracy"], abs=1e-3)
        assert f"1 x {light} + 1e+06 x {heavy} on 3 vali" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[{init: nowhere.pt}]", "no file nowhere.pt"),
        ("[{init: a.pt, weight: 0}]", "weight of a.pt in ensemble must be positive, got 0"),
        ("[]", "init=FILE.*ensemble="),
    ],
)
def test_a_wrong_ensemble_is_refused(run, value, message):
    with pytest.raises(UserError, match=message):
        run("evaluate", "init=null", f"ensemble={value}")


def test_the_teacher_of_a_training_is_not_scored_silently(run):
    with pytest.raises(UserError, match="network=teacher is what a training scores"):
        run("evaluate", "evaluation.network=teacher")


def test_a_misspelt_key_of_a_member_is_told():
    with pytest.raises(ConfigCompositionException) as caught:
        composed("ensemble=[{init: a.pt, wieght: 1}]")
    assert explain(caught.value) == "ensemble: there is no key wieght; did you mean weight?"


def test_a_training_scores_by_its_protocol(make_trainer):
    overrides = ["method=source_only", "evaluation=maxsquare", "trainer.steps=1"]
    trainer = make_trainer(*overrides)
    scores = trainer.evaluate()
    # Images of 128x64 whose labels are shrunk to 96x48.
    assert 0 < scores.confusion.sum() <= 3 * 96 * 48
    assert make_trainer("method=source_only").evaluate().confusion.sum() > 3 * 96 * 48


def test_published_rows_stand_beside_and_in_the_result(run, capsys, monkeypatch):
    asked = []

    def known(method: str, pair: str, label_space: str) -> list[Row]:
        asked.append((method, pair, label_space))
        return [Row(method, pair, "as printed", "ResNet-101", "hearsay", {"miou": 12.5})]

    monkeypatch.setattr("uda_hydra.tasks.evaluate.published", known)
    result = run("evaluate", "method=source_only")
    printed = capsys.readouterr().out
    assert "[1] as printed, ResNet-101: hearsay" in printed
    (mean,) = [line for line in printed.splitlines() if line.startswith("mean")]
    assert mean.split()[2] == "12.50"
    assert result["published"][0]["scores"] == {"miou": 12.5}
    run("evaluate", "dataset.oracle=true")
    assert asked == [(name, "streets", "cityscapes19") for name in ("source_only", "oracle")]


def test_a_scan_counts_the_source_and_goes_on(streets, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = [f"dataset.root={streets}", "output=run", "trainer.workers=0", "dataset.name=a/b"]
    config = composed(*SMALL, *values, "task=scan")
    tasks.run(config, [])
    images = build.pair(config).source.images
    text = (tmp_path / "outputs/scan/a-b-cityscapes19.json").read_text()
    found = Statistics.from_json(text).of(images)
    label = images.read_label(images.samples[0])
    assert found.pixels[0].tolist() == np.bincount(label[label < 19], minlength=19).tolist()
    assert "GTA5: 6 labels" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()
    tasks.run(composed(*SMALL, *values, "task=scan"), [])
    assert "6/6" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"dataset\.oracle"):
        tasks.run(composed(*SMALL, *values, "task=scan", "dataset.oracle=true"), [])
    absent = [name for name, n in zip(found.classes, found.pixels.sum(0), strict=True) if not n]
    classes = [f"{{name: {name}, colour: [1, 0, 0]}}" for name in (absent[0], "guardrail")]
    (tmp_path / "classes.yaml").write_text(f"classes: [{', '.join(classes)}]")
    with pytest.raises(UserError, match=r"no label of GTA5 shows a class of dataset.classes=clas"):
        tasks.run(composed(*SMALL, *values, "task=scan", "dataset.classes=classes.yaml"), [])


def test_an_absent_auxiliary_head_is_told_before_a_training_begins():
    with pytest.raises(UserError, match=r"evaluation\.aux_weight"):
        check_training(composed(*SMALL, "evaluation=caco_retrain", "model.multi_level=false"))
    check_training(composed(*SMALL, "evaluation=caco_retrain"))
