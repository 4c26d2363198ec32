"""Scores: worked by hand on two by two, then the rules for what is undefined or left out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from uda_hydra.engine.scores import NOT_IN_13, Scores

# Truth: 4 pixels of "road" (3 found, 1 called "sky"), 6 of "sky" (4 found, 2 called "road").
TWO = Scores(np.array([[3, 1], [2, 4]]), ("road", "sky"))


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
    scores = Scores(np.array([[5, 0, 1], [0, 0, 0], [0, 0, 0]]), ("road", "train", "sky"))
    np.testing.assert_array_equal(scores.iou, [5 / 6, math.nan, 0])
    np.testing.assert_array_equal(scores.class_accuracy, [5 / 6, math.nan, math.nan])
    assert scores.miou == pytest.approx(5 / 12)
    assert scores.fwiou == pytest.approx(5 / 6)


def test_nothing_to_score():
    scores = Scores(np.zeros((3, 3), dtype=np.int64), ("a", "b", "c"))
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


def test_sixteen_classes_also_report_thirteen():
    names = ("a", *NOT_IN_13, *(f"class {i}" for i in range(12)))
    diagonal = np.diag(np.arange(1, 17))
    diagonal[1, 0] = 7
    values = Scores(diagonal, names).metrics()
    assert values["miou_13"] == pytest.approx((1 / 8 + 12) / 13)
    assert values["miou"] == pytest.approx((1 / 8 + 2 / 9 + 14) / 16)
    assert set(TWO.metrics()) == {"miou", "pixel_accuracy", "mean_accuracy", "fwiou"}


def test_per_class_and_table_name_the_classes():
    assert TWO.per_class() == {"iou/road": pytest.approx(0.5), "iou/sky": pytest.approx(4 / 7)}
    lines = TWO.table().splitlines()
    assert lines[2].split() == ["road", "50.00", "75.00", "60.00", "40.00"]
    assert lines[5].split() == ["mean", "53.57", "70.83", "70.00", "-"]
    assert len({len(line) for line in lines[:6]}) == 1


def test_wrong_number_of_names_and_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"cannot score 3 classes"):
        Scores(np.zeros((2, 2), dtype=np.int64), ("a", "b", "c"))
    with pytest.raises(ValueError, match="no class 'car'"):
        TWO.subset(["car"])


def test_proca_counts_every_class():
    counted = Scores(np.array([[5, 0, 1], [0, 0, 0], [0, 0, 0]]), tuple("abc"), average="all")
    np.testing.assert_allclose(counted.iou, [5 / 6, 0, 0])
    assert counted.miou == pytest.approx(5 / 18)
    assert counted.subset(["a", "b"]).miou == pytest.approx(5 / 12)


def test_dice_by_hand():
    np.testing.assert_allclose(TWO.dice, [6 / 9, 8 / 11])


def test_published_columns_stand_beside():
    lines = TWO.table({"[1]": {"road": 0.876, "mean": 0.5}, "a long name": {}}).splitlines()
    assert lines[0].split()[1:6] == ["IoU", "[1]", "a", "long", "name"]
    assert lines[2].split() == ["road", "50.00", "87.60", "-", "75.00", "60.00", "40.00"]
    assert lines[3].split()[2:4] == ["-", "-"]
    assert lines[5].split()[1:4] == ["53.57", "50.00", "-"]
    assert len({len(line) for line in lines[:6]}) == 1


def test_the_thirteen_have_a_line_of_their_own():
    names = ("a", *NOT_IN_13, *(f"class {i}" for i in range(12)))
    lines = Scores(np.diag(np.arange(1, 17)), names).table({"[1]": {"mean*": 0.476}}).splitlines()
    assert lines[-2].split() == ["mean*", "100.00", "47.60", "-", "-", "-"]
    assert lines[-3].startswith("mean ")
