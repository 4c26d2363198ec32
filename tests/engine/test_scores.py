"""Scores: worked by hand on two by two, then the rules for what is undefined or left out."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from tests.label_spaces import numbered, space
from uda_hydra.data.labels import SYNTHIA16
from uda_hydra.engine.scores import Scores, heading

# Truth: 4 pixels of "road" (3 found, 1 called "sky"), 6 of "sky" (4 found, 2 called "road").
TWO = Scores(np.array([[3, 1], [2, 4]]), space("road", "sky"))
# "train" is predicted for a pixel of road, "car" is nowhere.
ABSENT = np.array([[5, 1, 1, 0], [0, 0, 0, 0], [0, 0, 2, 0], [0, 0, 0, 0]])


def test_two_classes_by_hand():
    np.testing.assert_allclose(TWO.iou, [3 / 6, 4 / 7])
    np.testing.assert_allclose(TWO.class_accuracy, [3 / 4, 4 / 6])
    np.testing.assert_allclose(TWO.precision, [3 / 5, 4 / 5])
    assert TWO.miou == pytest.approx((3 / 6 + 4 / 7) / 2)
    assert TWO.mean_accuracy == pytest.approx((3 / 4 + 4 / 6) / 2)
    assert TWO.mean_precision == pytest.approx(7 / 10)
    assert TWO.pixel_accuracy == pytest.approx(7 / 10)
    assert TWO.fwiou == pytest.approx(0.4 * 3 / 6 + 0.6 * 4 / 7)


def test_absent_class_is_undefined_and_predicted_only_class_scores_zero():
    scores = Scores(np.array([[5, 0, 1], [0, 0, 0], [0, 0, 0]]), space("road", "train", "sky"))
    np.testing.assert_array_equal(scores.iou, [5 / 6, math.nan, 0])
    np.testing.assert_array_equal(scores.class_accuracy, [5 / 6, math.nan, math.nan])
    assert scores.miou == pytest.approx(5 / 12)
    assert scores.fwiou == pytest.approx(5 / 6)


def test_nothing_to_score():
    scores = Scores(np.zeros((3, 3), dtype=np.int64), numbered(3))
    assert math.isnan(scores.miou) and math.isnan(scores.pixel_accuracy)
    assert scores.fwiou == 0
    assert "-" in scores.table()


def test_subset_keeps_mistakes_made_with_classes_left_out():
    scores = TWO.subset(["sky"])
    assert scores.names == ("sky",)
    assert scores.miou == pytest.approx(4 / 7)
    assert scores.fwiou == pytest.approx(4 / 7)
    assert scores.pixel_accuracy == TWO.pixel_accuracy
    np.testing.assert_array_equal(scores.iou, TWO.subset([1]).iou)


def test_a_subset_is_scored_beside_the_whole():
    diagonal = np.diag(np.arange(1, 17))
    diagonal[1, 0] = 7
    scores = Scores(diagonal, SYNTHIA16)
    values = scores.metrics()
    # The pixels of class 1 that are taken for class 0 harm both; class 1 is in the 13, too.
    assert values["miou_13"] == pytest.approx((1 / 8 + 2 / 9 + 11) / 13)
    assert values["miou"] == pytest.approx((1 / 8 + 2 / 9 + 14) / 16)
    assert set(TWO.metrics()) == {"miou", "pixel_accuracy", "mean_accuracy", "fwiou"}
    assert scores.subset(["road"]).subsets == {}


def test_the_average_decides_which_classes_the_mean_is_over():
    four = space("road", "train", "sky", "car")
    means = {"defined": (5 / 7 + 0 + 2 / 3) / 3, "occurring": (5 / 7 + 2 / 3) / 2}
    means["all"] = (5 / 7 + 2 / 3) / 4
    for average, mean in means.items():
        scores = Scores(ABSENT, four, average=average)
        assert scores.miou == pytest.approx(mean)
        assert scores.absent == ("train", "car") and scores.classes_scored == 2


def test_a_result_has_no_nan_and_says_what_is_absent():
    result = Scores(ABSENT, space("road", "train", "sky", "car"), average="occurring").result()
    assert result["iou/train"] is None and result["iou/car"] is None
    assert result["iou/sky"] == pytest.approx(2 / 3)
    assert (result["classes_scored"], result["classes_absent"]) == (2, ["train", "car"])
    json.dumps(result, allow_nan=False)


@pytest.mark.parametrize("size", [2, 60, 255])
def test_any_number_of_classes_is_scored_and_tabled(size):
    scores = Scores(np.diag(np.arange(1, size + 1)), numbered(size))
    assert scores.miou == 1 and scores.classes_scored == size
    lines = scores.table().splitlines()
    assert len(lines) == 2 + size + 1 + 1 + 1
    assert lines[-1].endswith(f"{size} of {size} classes occur")


def test_absent_classes_are_named_below_the_table():
    lines = Scores(ABSENT, space("road", "train", "sky", "car")).table().splitlines()
    assert lines[-2].endswith("; 2 of 4 classes occur")
    assert lines[-1] == "not in the labels: train, car"


def test_metrics_have_names_for_people():
    assert heading("miou") == "mIoU" and heading("miou_13") == "mIoU 13"
    assert heading("pixel_accuracy") == "pixel accuracy"


def test_per_class_and_table_name_the_classes():
    assert TWO.per_class() == {"iou/road": pytest.approx(0.5), "iou/sky": pytest.approx(4 / 7)}
    lines = TWO.table().splitlines()
    assert lines[2].split() == ["road", "50.00", "75.00", "60.00", "40.00"]
    assert lines[5].split() == ["mean", "53.57", "70.83", "70.00", "-"]
    assert len({len(line) for line in lines[:6]}) == 1


def test_wrong_number_of_names_and_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"cannot score the 3 classes of made"):
        Scores(np.zeros((2, 2), dtype=np.int64), numbered(3))
    with pytest.raises(ValueError, match="has no class 'car'"):
        TWO.subset(["car"])


def test_proca_counts_every_class():
    counted = Scores(np.array([[5, 0, 1], [0, 0, 0], [0, 0, 0]]), space(*"abc"), average="all")
    np.testing.assert_allclose(counted.iou, [5 / 6, 0, 0])
    assert counted.miou == pytest.approx(5 / 18)
    assert counted.subset(["a", "b"]).miou == pytest.approx(5 / 12)


def test_dice_by_hand():
    np.testing.assert_allclose(TWO.dice, [6 / 9, 8 / 11])


def test_published_columns_stand_beside():
    lines = TWO.table({"[1]": {"road": 0.876, "miou": 0.5}, "a long name": {}}).splitlines()
    assert lines[0].split()[1:6] == ["IoU", "[1]", "a", "long", "name"]
    assert lines[2].split() == ["road", "50.00", "87.60", "-", "75.00", "60.00", "40.00"]
    assert lines[3].split()[2:4] == ["-", "-"]
    assert lines[5].split()[1:4] == ["53.57", "50.00", "-"]
    assert len({len(line) for line in lines[:6]}) == 1


def test_a_subset_has_a_line_of_its_own():
    scores = Scores(np.diag(np.arange(1, 17)), SYNTHIA16)
    lines = scores.table({"[1]": {"miou_13": 0.476}}).splitlines()
    assert lines[-2].split() == ["mean", "13", "100.00", "47.60", "100.00", "100.00", "-"]
    assert lines[-3].startswith("mean ")
