from random import Random

import numpy as np
import pytest

from uda_hydra.data.transforms import (
    Labelled,
    blurred,
    centre_crop,
    cropped,
    maxsquare_view,
    mirrored,
    padded,
    random_scale_crop,
    resized,
)
from uda_hydra.types import IGNORE


@pytest.fixture
def sample():
    """The label is the red channel, so that both must move together."""
    image = np.random.default_rng(0).integers(0, 19, (12, 20, 3), dtype=np.uint8)
    return Labelled(image, image[:, :, 0].copy())


def test_the_mirror_by_hand(sample):
    image, label = mirrored(sample)
    assert np.array_equal(image[:, 0], sample.image[:, 19])
    assert np.array_equal(label, sample.label[:, ::-1])


def test_padding_is_black_ignored_and_on_the_right_and_below(sample):
    image, label = padded(sample, (23, 4))
    assert image.shape == (12, 23, 3)
    assert np.array_equal(image[:, :20], sample.image)
    assert not image[:, 20:].any()
    assert np.array_equal(label[:, :20], sample.label)
    assert (label[:, 20:] == IGNORE).all()


def test_a_crop_by_hand(sample):
    image, label = cropped(sample, (3, 1), (2, 4))
    assert np.array_equal(image, sample.image[1:5, 3:5])
    assert np.array_equal(label, sample.label[1:5, 3:5])


def test_blurring_a_point_spreads_and_keeps_it():
    point = np.zeros((9, 9, 3), np.uint8)
    point[4, 4] = 255
    spread = blurred(point, 0.8)
    assert 0 < spread[4, 5, 0] < spread[4, 4, 0] < 255
    assert np.array_equal(blurred(point, 0.0), point)


@pytest.mark.parametrize(("size", "covering"), [((10, 10), (16, 10)), ((20, 4), (20, 12))])
def test_the_centre_of_the_shortest_covering_size(sample, size, covering):
    # 20x12 covers 10x10 at 16x10 and 20x4 as it is.
    whole = resized(sample, covering)
    left, top = (covering[0] - size[0]) // 2, (covering[1] - size[1]) // 2
    for part, full in zip(centre_crop(sample, size), whole, strict=True):
        assert np.array_equal(part, full[top : top + size[1], left : left + size[0]])


@pytest.mark.parametrize("seed", range(20))
def test_random_crops_have_their_size_and_keep_the_ratio(sample, seed):
    random = Random(seed)
    view = random_scale_crop(sample, base=(16, 8), crop=(14, 9), scales=(0.5, 2.0), random=random)
    assert view.image.shape == (9, 14, 3)
    inside = view.label != IGNORE
    # 16/20 is more than 8/12: the width is drawn, in 8 to 32, and the height follows.
    again = Random(seed)
    width = again.randint(8, 32)
    assert inside.sum() == min(width, 14) * min(12 * width // 20, 9)
    assert not view.image[~inside].any()


def test_all_is_off_or_on(sample):
    crop = {"crop": (20, 12), "base": None, "scales": (1.0, 1.0)}
    plain = maxsquare_view(sample, **crop, mirror=0.0, blur=0.0, random=Random(0))
    assert np.array_equal(plain.image, sample.image)
    full = maxsquare_view(sample, **crop, mirror=1.0, blur=1.0, random=Random(0))
    assert np.array_equal(full.label, sample.label[:, ::-1])
    assert not np.array_equal(full.image, sample.image[:, ::-1])
