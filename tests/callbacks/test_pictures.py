from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from tests.label_spaces import numbered
from uda_hydra.callbacks import pictures
from uda_hydra.callbacks.confusion import MOST_WRITTEN, draw_confusion
from uda_hydra.callbacks.panels import (
    GAP,
    LINE,
    MARGIN,
    NO_LABEL,
    RIGHT,
    SWATCH,
    TILE,
    WRONG,
    captions,
    classes_shown,
    draw_lines,
    draw_panels,
    draw_row,
    error_rate,
    errors,
    font,
    heat,
    legend_places,
)
from uda_hydra.callbacks.pictures import Pictures
from uda_hydra.data.labels import CITYSCAPES19
from uda_hydra.engine.events import Evaluation, Panel, Run
from uda_hydra.engine.scores import Scores


def panel():
    """All road in truth but an ignored quarter; the left half is predicted right, and surely."""
    truth = np.zeros((64, 128), np.uint8)
    truth[:, 96:] = 255
    prediction = np.full((64, 128), 13, np.uint8)
    prediction[:, :64] = 0
    confidence = (prediction == 0).astype(np.float32)
    return Panel("aachen_1", np.full((64, 128, 3), 200, np.uint8), truth, prediction, confidence)


def evaluation(step, panels=None):
    scores = Scores(np.eye(19, dtype=np.int64), CITYSCAPES19)
    return Evaluation(step, scores, 1.0, (panel(),) if panels is None else panels)


def start(folder, step=0):
    callback = Pictures()
    callback.on_start(Run("caco", folder, 100, step, {}))
    return callback


def names(folder):
    return sorted(path.name for path in (folder / "pictures").iterdir())


def test_a_row_shows_image_truth_prediction_and_confidence():
    row = draw_row(panel(), CITYSCAPES19)
    assert row.shape == (TILE // 2, 4 * TILE + 3 * GAP, 3)
    middle = row[TILE // 4]
    tiles = [middle[column * (TILE + GAP) :][:TILE] for column in range(4)]
    left, right = TILE // 4, TILE - TILE // 8
    assert (tiles[0] == 200).all()
    assert tiles[1][left].tolist() == [*CITYSCAPES19.colours[0]]
    assert tiles[1][right].tolist() == [0, 0, 0]
    assert tiles[2][left].tolist() == [*CITYSCAPES19.colours[0]]
    assert tiles[2][right].tolist() == [*CITYSCAPES19.colours[13]]
    assert tiles[3][left].sum() > tiles[3][right].sum()


def test_confidence_grows_brighter_and_stays_in_bounds():
    colours = heat(np.array([[-1.0, 0.0, 0.5, 1.0, 2.0]], np.float32))[0].astype(int)
    green = colours[:, 1].tolist()
    assert green[0] == green[1] < green[2] < green[3] == green[4]


def test_captions_count_only_what_has_a_truth():
    # 96 of 128 columns have a truth, 64 of them are right.
    assert captions(panel()) == ("aachen_1", "", "66.7 % of the pixels correct", "mean 0.50")
    blind = panel()._replace(truth=np.full((64, 128), 255, np.uint8))
    assert captions(blind)[2] == ""


@pytest.mark.parametrize("size", [2, 19, 60, 255])
def test_the_legend_stays_on_the_sheet_and_never_overlaps(size):
    names = numbered(size).names
    places = legend_places(names, 900)
    assert len({*places}) == size and places[0] == (0, 0)
    lefts = sorted({x for x, _ in places})
    widest = max(font(13).getlength(name) for name in names) + SWATCH + 6
    assert all(right - left > widest for left, right in pairwise(lefts))
    assert lefts[-1] + widest <= 900


def test_a_name_longer_than_the_legend_is_wide_still_has_a_place():
    assert legend_places(["a" * 300, "b"], 100) == [(0, 0), (0, LINE)]


def random_panel(size):
    """Noise of all classes, a corner of it ignored."""
    generator = np.random.default_rng(size)
    truth, prediction = generator.integers(0, size, (2, 64, 128)).astype(np.uint8)
    truth[:8, :8] = 255
    return panel()._replace(truth=truth, prediction=prediction)


@pytest.mark.parametrize("size", [2, 60, 255])
def test_pictures_of_any_number_of_classes_have_a_size_that_fits(size):
    space = numbered(size)
    sheet = draw_panels([random_panel(size)], label_space=space, title="step 1")
    assert sheet.width == 4 * TILE + 3 * GAP + 2 * MARGIN and sheet.height < 1500
    counts = np.random.default_rng(0).integers(0, 9, (size, size))
    figure = draw_confusion(counts, space.names, title="step 1")
    assert max(figure.get_size_inches()) < 24
    assert bool(figure.axes[0].texts) == (size <= MOST_WRITTEN)
    assert len(figure.axes[0].get_yticklabels()) == size


def test_the_legend_has_the_classes_that_occur():
    # Road in truth and prediction, car (13) in the prediction; 255 is no class.
    assert classes_shown([panel()], 19) == [0, 13]


def test_a_sheet_has_a_row_per_image():
    one = draw_panels([panel()], label_space=CITYSCAPES19, title="step 1")
    two = draw_panels([panel(), panel()], label_space=CITYSCAPES19, title="step 1")
    assert one.width == 4 * TILE + 3 * GAP + 2 * MARGIN
    assert two.height - one.height > TILE // 2


def test_label_maps_follow_their_image_with_their_errors():
    label = panel().prediction.copy()
    label[:32] = 255
    shown = panel()._replace(labels={"before": panel().prediction, "after": label, "third": label})
    first, second, third = draw_lines(shown, CITYSCAPES19)
    assert first[1] == captions(panel())
    # 96 of 128 columns have a truth; the prediction is wrong in 32 of them, the label in half.
    assert second[1] == (
        *("before", "33.3 % wrong of 100.0 % labelled"),
        *("after", "33.3 % wrong of 50.0 % labelled"),
    )
    assert third[1][0] == "third"
    colours = errors(label, panel().truth)[:, [0, 64, 127]]
    assert colours[0].tolist() == [[*NO_LABEL], [*NO_LABEL], [0, 0, 0]]
    assert colours[-1].tolist() == [[*RIGHT], [*WRONG], [0, 0, 0]]
    plain = draw_panels([panel()], label_space=CITYSCAPES19, title="step 1")
    sheet = draw_panels([shown], label_space=CITYSCAPES19, title="step 1")
    assert sheet.width == plain.width
    assert sheet.height - plain.height == 2 * (TILE // 2 + LINE + GAP)
    assert error_rate(label, np.full_like(label, 255)) == ""


def test_a_confusion_matrix_is_in_percent_of_the_truth():
    confusion = np.array([[3, 1, 0], [0, 0, 0], [0, 1, 999]])
    figure = draw_confusion(confusion, ("road", "car", "sky"), title="step 1")
    axes = figure.axes[0]
    # Row road: 75 and 25; car has no pixels; sky 0.1 % is too little for a number.
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {(0, 0): "75", (1, 0): "25", (2, 2): "100"}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["road", "car", "sky"]


def test_the_last_twelve_panels_are_kept(tmp_path):
    callback = start(tmp_path, 120)
    (tmp_path / "pictures").mkdir()
    for step in range(10, 130, 10):
        (tmp_path / f"pictures/panel_{step:07d}.png").touch()
    for step in (130, 140):
        callback.on_evaluate(evaluation(step))
    wanted = [f"panel_{step:07d}.png" for step in range(30, 150, 10)]
    assert names(tmp_path) == ["confusion.png", *wanted]
    with Image.open(tmp_path / "pictures" / wanted[-1]) as picture:
        assert picture.format == "PNG"


def test_a_resume_forgets_pictures_of_steps_to_come(tmp_path):
    callback = start(tmp_path)
    for step in (10, 20, 30):
        callback.on_evaluate(evaluation(step))
    start(tmp_path, 20)
    assert names(tmp_path) == ["confusion.png", "panel_0000010.png", "panel_0000020.png"]


def test_a_persons_own_pictures_are_left_alone(tmp_path):
    own = ["panel_0000099 (copy).png", "panel_best.png"]
    (tmp_path / "pictures").mkdir()
    for name in own:
        (tmp_path / "pictures" / name).touch()
    start(tmp_path, 20).on_evaluate(evaluation(30))
    assert names(tmp_path) == ["confusion.png", "panel_0000030.png", *own]


def test_without_images_there_is_still_a_matrix(tmp_path):
    start(tmp_path).on_evaluate(evaluation(10, ()))
    assert names(tmp_path) == ["confusion.png"]


def test_an_image_as_flat_as_a_line_has_a_row_too():
    flat = np.zeros((1, 2000), np.uint8)
    image, confidence = np.zeros((1, 2000, 3), np.uint8), np.zeros((1, 2000), np.float32)
    row = draw_row(Panel("flat", image, flat, flat, confidence), CITYSCAPES19)
    assert row.shape == (1, 4 * TILE + 3 * GAP, 3)


def test_a_picture_that_cannot_be_drawn_is_worth_a_line(tmp_path, monkeypatch, caplog):
    def fail(*arguments, **options):
        raise ValueError("no such colour\nTraceback")

    monkeypatch.setattr(pictures, "draw_panels", fail)
    start(tmp_path).on_evaluate(evaluation(10))
    assert caplog.messages == ["pictures of step 10 are missing: no such colour"]


@pytest.mark.parametrize("blocked", ["pictures", "pictures/confusion.png"])
def test_a_folder_that_takes_no_picture_is_worth_a_line(tmp_path, blocked, caplog):
    callback = start(tmp_path)
    if blocked == "pictures":
        (tmp_path / blocked).write_text("a file, not a folder")
    else:
        (tmp_path / blocked).mkdir(parents=True)
    callback.on_evaluate(evaluation(10))
    assert "pictures" in caplog.text
