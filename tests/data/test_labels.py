import numpy as np
import pytest

from uda_hydra.data.labels import (
    CITYSCAPES_IDS,
    CLASSES,
    PALETTE,
    SYNTHIA_IDS,
    class_names,
    colourise,
    lookup_table,
    train_ids,
)


def test_sixteen_classes_lack_terrain_truck_and_train():
    assert set(CLASSES) - set(class_names(16)) == {"terrain", "truck", "train"}


def test_thirteen_classes_lack_wall_fence_and_pole_as_well():
    assert set(class_names(16)) - set(class_names(13)) == {"wall", "fence", "pole"}


@pytest.mark.parametrize("num_classes", [19, 16, 13])
def test_numbers_run_from_zero_without_gaps_and_keep_the_order(num_classes):
    assert len(class_names(num_classes)) == num_classes
    assert list(train_ids(num_classes)) == sorted(set(train_ids(num_classes)))


def test_other_class_counts_are_refused():
    with pytest.raises(ValueError, match=r"dataset.num_classes must be 19, 16 or 13, got 20"):
        class_names(20)


@pytest.mark.parametrize(
    ("raw", "numbers"),
    [
        (7, (0, 0, 0)),  # road
        (17, (5, 5, 255)),  # pole
        (22, (9, 255, 255)),  # terrain
        (26, (13, 12, 9)),  # car
        (33, (18, 15, 12)),  # bicycle
        (9, (255, 255, 255)),  # parking
        (34, (255, 255, 255)),  # licence plate
        (255, (255, 255, 255)),
    ],
)
def test_cityscapes_ids_by_hand(raw, numbers):
    assert tuple(lookup_table(CITYSCAPES_IDS, k)[raw] for k in (19, 16, 13)) == numbers


@pytest.mark.parametrize(
    ("raw", "numbers"),
    [
        (3, (0, 0, 0)),  # road
        (21, (3, 3, 255)),  # wall
        (1, (10, 9, 6)),  # sky
        (11, (18, 15, 12)),  # bicycle
        (22, (255, 255, 255)),  # lane marking
        (0, (255, 255, 255)),
    ],
)
def test_synthia_ids_by_hand(raw, numbers):
    assert tuple(lookup_table(SYNTHIA_IDS, k)[raw] for k in (19, 16, 13)) == numbers


@pytest.mark.parametrize("ids", [CITYSCAPES_IDS, SYNTHIA_IDS])
@pytest.mark.parametrize("num_classes", [19, 16, 13])
def test_table_gives_every_class_one_raw_id(ids, num_classes):
    table = lookup_table(ids, num_classes)
    assert sorted(table[table != 255]) == list(range(num_classes))


def test_colours_are_official_for_every_protocol():
    sky = {19: 10, 16: 9, 13: 6}
    for num_classes, number in sky.items():
        label = np.array([[number, 0, 255]], np.uint8)
        assert colourise(label, num_classes).tolist() == [[[70, 130, 180], [128, 64, 128], [0] * 3]]


def test_numbers_beyond_the_classes_are_black():
    assert colourise(np.array([[13]], np.uint8), 13).sum() == 0


def test_colours_tell_the_classes_apart():
    assert len(np.unique(PALETTE, axis=0)) == 19
