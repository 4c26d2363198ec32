"""Reported rows agree with themselves, and are found."""

from __future__ import annotations

import pytest

from uda_hydra.data.labels import CITYSCAPES19, LABEL_SPACES
from uda_hydra.engine.scores import NOT_IN_13
from uda_hydra.errors import UserError
from uda_hydra.published import _rows, check_name, published, sensitivity

WHOLE = [row for row in _rows() if row.iou]


@pytest.mark.parametrize("row", WHOLE, ids=lambda row: f"{row.method}-{row.pair}-{row.network}")
def test_classes_average_to_the_reported_mean(row):
    expected = 64.5 if "average 64.5" in row.remark else row.miou
    column = row.column(next(s.names for s in LABEL_SPACES.values() if len(s) == len(row.iou)))
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
    assert row.column(CITYSCAPES19.names)["train"] == pytest.approx(0.015)
    assert row.note() == "AdvEnt, ResNet-101: paper"
    assert published("advent", "streets") == []
    remarked = published("cfcontra", "gta2city")[0].note()
    assert remarked.startswith("CFContra, ResNet-101: repository (") and remarked.endswith(")")


def test_the_gaps_that_adversarial_da_exp_reports_are_those_of_its_rows():
    def found(method, name, network):
        rows = published(method, "synthia2city")
        (row,) = [r for r in rows if r.name == name and r.network.startswith(network)]
        return row.miou

    gaps = {
        ("adapted", "oracle", "DeepLabV2"): -35.5,
        ("adapted", "oracle", "DeepLabV3+"): -34.8,
        ("adapted with both heads", "oracle with both heads", "DeepLabV2"): -35.4,
    }
    for (adapted, oracle, network), gap in gaps.items():
        ours = found("adversarial_da_exp", adapted, network) - found("oracle", oracle, network)
        assert ours == pytest.approx(gap)


def test_the_curves_against_lambda_adv_are_found():
    (flat,) = sensitivity("adversarial_da_exp", "synthia2city", "loss.lambda_adv")
    assert dict(flat.points) == {0.0005: 37.0, 0.001: 38.3, 0.002: 38.2, 0.004: 38.3}
    output, feature = sensitivity("adaptsegnet", "gta2city", "loss.lambda_adv")
    assert [value for value, _ in output.points] == [0.0005, 0.001, 0.002, 0.004]
    assert [miou for _, miou in output.points] == [40.2, 41.4, 40.4, 40.1]
    assert [miou for _, miou in feature.points] == [35.3, 39.3, 35.9, 32.8]
    assert sensitivity("adaptsegnet", "gta2city", "loss.lambda_seg") == []


def test_a_name_without_rows_is_refused_with_the_nearest():
    check_name(None)
    check_name("adversarial_da_exp")
    with pytest.raises(UserError, match=r"published=advrsarial.*did you mean adversarial_da_exp"):
        check_name("advrsarial_da_exp")
