"""Reported rows agree with themselves, and are found."""

from __future__ import annotations

import pytest

from uda_hydra.data.labels import class_names
from uda_hydra.engine.scores import NOT_IN_13
from uda_hydra.published import _rows, published

WHOLE = [row for row in _rows() if row.iou]


@pytest.mark.parametrize("row", WHOLE, ids=lambda row: f"{row.method}-{row.pair}-{row.network}")
def test_classes_average_to_the_reported_mean(row):
    expected = 64.5 if "average 64.5" in row.remark else row.miou
    column = row.column(class_names(len(row.iou)))
    assert column.pop("mean") == pytest.approx(row.miou / 100)
    starred = column.pop("mean*", None)
    # The papers round, and sometimes they round rounded numbers.
    assert 100 * sum(column.values()) / len(column) == pytest.approx(expected, abs=0.16)
    if starred is not None:
        thirteen = [value for name, value in column.items() if name not in NOT_IN_13]
        assert sum(thirteen) / len(thirteen) == pytest.approx(starred, abs=0.0016)


def test_every_row_reports_something_and_names_its_source():
    for row in _rows():
        assert row.source and row.network
        assert row.miou is not None or row.miou_13 is not None
        assert len(row.iou) in (0, 16, 19)
        assert (row.miou_13 is None) or row.pair == "synthia2city"


def test_rows_are_found_and_explained():
    (row,) = [row for row in published("advent", "gta2city") if row.iou]
    assert row.column(class_names(19))["train"] == pytest.approx(0.015)
    assert row.note() == "AdvEnt, ResNet-101: paper"
    assert published("advent", "streets") == []
    remarked = published("cfcontra", "gta2city")[0].note()
    assert remarked.startswith("CFContra, ResNet-101: repository (") and remarked.endswith(")")
