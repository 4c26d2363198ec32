"""Predictions for a folder of images: the same labels as evaluation, and a word for every input."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import SMALL, composed
from tests.label_spaces import numbered
from uda_hydra import tasks
from uda_hydra.data.labels import CITYSCAPES19
from uda_hydra.data.readers import read_rgb
from uda_hydra.errors import UserError
from uda_hydra.tasks.predict import find_images, name_outputs


@pytest.fixture
def predict(untrained, streets, tmp_path):
    """Predicts the images of ``tmp_path / "images"``; the folder of the results."""
    (tmp_path / "images").mkdir()

    def task(*overrides: str) -> Path:
        given = [f"dataset.root={streets}", "task=predict", f"init={untrained.checkpoints.last}"]
        given += [f"input={tmp_path / 'images'}", f"output={tmp_path / 'drawn'}", *overrides]
        tasks.run(composed(*SMALL, *given), given)
        return tmp_path / "drawn"

    task.pair, task.weights = untrained.pair, untrained.checkpoints.last
    return task


def put(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (48, 96, 3), np.uint8)
    cv2.imwrite(str(path), noise)


@pytest.mark.parametrize("name", ["common", "daformer", "proca"])
def test_labels_are_those_that_evaluation_scores(predict, tmp_path, name, monkeypatch):
    """A confusion matrix counted on the PNGs is the evaluation's."""
    images = predict.pair.validation.truth
    for number, sample in enumerate(images.samples):
        (tmp_path / f"images/{number}.png").write_bytes(sample.image.read_bytes())
    protocol = [f"evaluation={name}", "evaluation.size=[48,24]"]
    drawn = predict(*protocol)
    correct = pixels = 0
    for number, sample in enumerate(images.samples):
        label = images.read_label(sample)
        guess = cv2.imread(str(drawn / f"labels/{number}.png"), cv2.IMREAD_UNCHANGED)
        correct += int((guess == label)[label < 19].sum())
        pixels += int((label < 19).sum())
    given = [*protocol, "task=evaluate", f"output={tmp_path / 'scored'}", f"init={predict.weights}"]
    given += [f"dataset.target.root={images.root}", "dataset.oracle=true"]
    tasks.run(composed(*SMALL, *given), given)
    result = json.loads((tmp_path / "scored/evaluation.json").read_text())
    assert correct / pixels == pytest.approx(result["pixel_accuracy"], abs=1e-12)


def test_an_ensemble_predicts_too(predict, tmp_path):
    put(tmp_path / "images/a.png")
    alone = (predict() / "labels/a.png").read_bytes()
    member = f"{{init: '{predict.weights}', weight: 0.5}}"
    both = predict("init=null", f"ensemble=[{member},{member}]")
    assert (both / "labels/a.png").read_bytes() == alone


def test_label_maps_hold_class_numbers_and_colours_those_of_the_label_space(predict, tmp_path):
    put(tmp_path / "images/deep/a.png")
    drawn = predict()
    labels = cv2.imread(str(drawn / "labels/deep/a.png"), cv2.IMREAD_UNCHANGED)
    assert labels.shape == (48, 96) and labels.max() < 19
    np.testing.assert_array_equal(
        read_rgb(drawn / "colours/deep/a.png"), CITYSCAPES19.colourise(labels)
    )
    assert json.loads((drawn / "classes.json").read_text())["18"] == "bicycle"


def results(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))


def test_every_input_has_a_result_or_a_line(predict, tmp_path, capsys):
    """Twice, with another set of images: results of those that have gone or broken go too."""
    images = tmp_path / "images"
    put(images / "x.png", 0)
    put(images / "x.jpg", 1)
    put(images / "b/x.png", 2)
    put(images / "tiny.bmp", 3)
    (images / "tiny.bmp").write_bytes(cv2.imencode(".bmp", np.zeros((1, 1, 3), np.uint8))[1])
    (images / "broken.png").write_bytes(b"no image")
    (images / ("long" * 60 + ".png")).write_bytes((images / "x.png").read_bytes())
    (images / "._x.png").write_bytes(b"a file of another system")
    (images / "notes\33.txt").touch()
    os.mkfifo(images / "pipe.png")
    with pytest.raises(UserError, match=r"no prediction for 3 images:") as error:
        predict()
    assert [*re.findall(r"(broken|long|pipe)\S*png", str(error.value))] == [
        "broken",
        "long",
        "pipe",
    ]
    expected = ["b/x.png.png", "tiny.bmp.png", "x.jpg.png", "x.png.png"]
    for part in ("labels", "colours", "overlays"):
        assert results(tmp_path / "drawn" / part) == expected
    said = capsys.readouterr()
    assert "4 of 7 images predicted" in said.out
    assert "hidden files ignored: 1, such as ._x.png" in said.out
    assert r"no images ignored: 1, such as notes\x1b.txt" in said.out
    assert "\r" not in said.out + said.err

    for name in ("x.jpg", "broken.png", "long" * 60 + ".png", "pipe.png"):
        (images / name).unlink()
    (images / "x.png").write_bytes((images / "x.png").read_bytes()[:-9])
    (tmp_path / "drawn/labels/mine.png").touch()
    with pytest.raises(UserError, match=r"for 1 images:\n\S*images/x\.png is cut short"):
        predict()
    assert results(tmp_path / "drawn/labels") == ["b/x.png", "mine.png", "tiny.png"]
    with pytest.raises(UserError, match=r"holds the predictions of \S*images; choose another"):
        predict(f"input={images / 'b'}")


def test_names_are_distinct_and_short_where_they_can_be():
    folder = Path("in")

    def names(*files: str) -> list[str]:
        return [str(one) for one in name_outputs([folder / f for f in files], folder).values()]

    assert names("a/x.jpg", "b/x.png") == ["a/x.png", "b/x.png"]
    assert names("x.jpg", "x.png", "x.jpg.png") == ["x.jpg.png", "x.png.png", "x.jpg.png.png"]
    assert names("X.jpg", "x.png") == ["X.jpg.png", "x.png.png"]
    assert names("A/x.png", "a/X.png", "b.png") == ["A/x.png.png", "a/X.png~2.png", "b.png.png"]
    assert names("\u00e9.png", "e\u0301.png") == ["\u00e9.png.png", "e\u0301.png~2.png"]


def test_what_was_written_and_what_is_hidden_is_not_read(tmp_path):
    put(tmp_path / "a.png")
    put(tmp_path / "out/labels/a.png")
    put(tmp_path / ".hidden/b.png")
    (tmp_path / "linked").symlink_to(tmp_path / "out/labels")
    assert find_images(tmp_path, tmp_path / "out") == [tmp_path / "a.png"]
    with pytest.raises(UserError, match="nowhere is not a folder"):
        find_images(tmp_path / "nowhere", tmp_path)


def test_weights_of_other_classes_are_refused(predict, tmp_path, monkeypatch):
    put(tmp_path / "images/a.png")
    monkeypatch.setattr("uda_hydra.tasks.predict.label_space", lambda _: numbered(7))
    with pytest.raises(UserError, match="predicts 19 classes and made has 7"):
        predict()
