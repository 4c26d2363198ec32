from __future__ import annotations

from uda_hydra.published import Row
from uda_hydra.report import browse, comparison, summary

BEFORE = {"iou/road": 0.5, "iou/train": None, "miou/last": 0.25, "miou/best": 0.26}
BEFORE |= {"miou/best_step": 3}
AFTER = BEFORE | {"iou/road": 0.75, "miou/last": 0.375}


def test_comparison_shows_both_stages_and_the_gain():
    text = comparison({"source": BEFORE, "caco": AFTER})
    road = next(line for line in text.splitlines() if line.startswith("road"))
    assert road.split() == ["road", "50.00", "75.00", "+25.00"]
    assert "mIoU gain of caco over source: +12.50 points" in text
    assert next(line for line in text.splitlines() if line.startswith("train")).split()[1:3] == [
        "-",
        "-",
    ]


def test_controls_between_the_first_and_the_last_stage_have_their_gains():
    control = BEFORE | {"miou/last": 0.35}
    text = comparison({"source": BEFORE, "statistics": control, "caco": AFTER})
    road = next(line for line in text.splitlines() if line.startswith("road"))
    assert road.split() == ["road", "50.00", "50.00", "75.00"]
    for line in ("statistics over source: +10.00", "caco over source: +12.50"):
        assert f"mIoU gain of {line} points" in text
    assert "mIoU gain of caco over statistics: +2.50 points" in text


def test_subsets_and_absent_classes_come_from_the_result():
    result = BEFORE | {"miou_13": 0.3, "classes_scored": 1, "classes_absent": ["train"]}
    row = Row("m", "p", "Theirs", "net", "paper", {"miou_13": 44.0}, {"road": 60.0})
    lines = summary(result, [row]).splitlines()
    assert next(line for line in lines if line.startswith("road")).split()[1:] == ["50.00", "60.00"]
    starred = next(line for line in lines if line.startswith("mIoU 13"))
    assert starred.split()[2:] == ["30.00", "44.00"]
    assert "1 classes scored; absent: train" in lines
    assert "mIoU 13 44.00, Theirs, net: paper" in lines[-1]


def test_the_best_is_marked_as_selected_on_target_labels():
    assert "26.00 at step 3 (selected on target labels)" in summary(BEFORE)
    assert "upper bound" in summary(BEFORE | {"oracle": "an upper bound"})


def test_terms_without_effect_are_named():
    assert "without effect: loss/contrast" in summary(BEFORE | {"zero_terms": ["loss/contrast"]})


def test_the_command_to_browse_names_the_store(tmp_path):
    assert "--backend-store-uri sqlite:///x.db" in browse(tmp_path, "sqlite:///x.db")
    assert "make ui" not in browse(tmp_path, "sqlite:///x.db")
    assert "make ui" in browse(tmp_path, "sqlite:///outputs/mlflow.db")
    assert "mlflow ui" not in browse(tmp_path, "databricks")
    assert "mlflow" not in browse(tmp_path, None)
    assert "browse: http://me:***@host" in browse(tmp_path, "http://me:secret@host")
