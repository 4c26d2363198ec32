"""Reported rows agree with themselves, and are found."""

from __future__ import annotations

import pytest

from uda_hydra.data.labels import LABEL_SPACES
from uda_hydra.errors import UserError
from uda_hydra.published import _table, check_name, published, sensitivity

CLASSES, ROWS = _table()
WHOLE = [row for row in ROWS if row.iou]


@pytest.mark.parametrize("row", WHOLE, ids=lambda row: f"{row.method}-{row.pair}-{row.network}")
def test_classes_average_to_the_reported_means(row):
    space = LABEL_SPACES[CLASSES[row.pair]]
    assert tuple(row.iou) == space.names
    expected = dict(row.scores)
    if "average 64.5" in row.remark:
        expected["miou"] = 64.5
    for metric, kept in {"miou": space.names, **space.subsets}.items():
        if metric in expected:
            # The papers round, and sometimes they round rounded numbers.
            mean = sum(row.iou[name] for name in kept) / len(kept)
            assert mean == pytest.approx(expected[metric], abs=0.16)


def test_every_row_reports_metrics_of_its_label_space_and_names_its_source():
    for row in ROWS:
        assert row.source and row.network and row.scores
        assert {*row.scores} <= {"miou", *LABEL_SPACES[CLASSES[row.pair]].subsets}


def test_rows_are_found_and_explained():
    (row,) = [row for row in published("advent", "gta2city", "cityscapes19") if row.iou]
    assert row.column()["train"] == pytest.approx(0.015)
    assert row.column()["miou"] == pytest.approx(0.438)
    assert row.note() == "AdvEnt, ResNet-101: paper"
    remarked = published("cfcontra", "gta2city", "cityscapes19")[0].note()
    assert remarked.startswith("CFContra, ResNet-101: repository (") and remarked.endswith(")")


def test_rows_over_other_classes_are_not_compared():
    assert published("advent", "streets", "cityscapes19") == []
    assert published("advent", "synthia2city", "synthia16")
    assert published("advent", "synthia2city", "synthia13") == []


def test_the_gaps_that_adversarial_da_exp_reports_are_those_of_its_rows():
    def found(method, name, network):
        rows = published(method, "synthia2city", "synthia16")
        (row,) = [r for r in rows if r.name == name and r.network.startswith(network)]
        return row.scores["miou"]

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
