import cv2
import numpy as np
import pytest
from PIL import Image

from uda_hydra.augment.resize import resize_image, resize_label

SIZES = [(32, 20), (74, 46), (61, 37), (1, 1), (7, 90)]
PILLOW = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).integers(0, 256, (37, 61, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("filter", ["bicubic", "bilinear"])
def test_image_is_pillows(noise, size, filter):
    expected = np.asarray(Image.fromarray(noise).resize(size, PILLOW[filter]))
    assert np.array_equal(resize_image(noise, size, filter=filter), expected)


def test_shrinking_averages_all_pixels():
    """A filter that does not widen would see 2 of the 16 columns, and miss the white ones."""
    stripes = np.zeros((16, 16, 3), np.uint8)
    stripes[:, ::4] = 255
    assert np.abs(resize_image(stripes, (2, 2), filter="bilinear").astype(int) - 64).max() < 16


def test_label_takes_the_pixel_under_the_centre():
    label = np.arange(6, dtype=np.uint8)[None]
    assert resize_label(label, (3, 1)).tolist() == [[1, 3, 5]]
    assert resize_label(label, (2, 1)).tolist() == [[1, 4]]
    assert resize_label(label, (12, 1)).tolist() == [[0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]]


def test_label_agrees_with_a_loop_over_pixels():
    rng = np.random.default_rng(2)
    # With an odd source no centre lies on a border, where rounding would decide.
    for width, target in [(65, 21), (101, 33), (9, 5), (21, 61), (3, 8)]:
        label = rng.integers(0, 34, (3, width), dtype=np.uint8)
        expected = [
            [row[(2 * i + 1) * width // (2 * target)] for i in range(target)] for row in label
        ]
        assert resize_label(label, (target, 3)).tolist() == expected


def test_label_invents_no_class():
    label = np.random.default_rng(3).choice(np.array([0, 18, 255], np.uint8), (40, 50))
    assert set(np.unique(resize_label(label, (23, 31)))) <= {0, 18, 255}


def test_label_rule_is_not_the_corner_rule_of_opencv():
    label = np.arange(6, dtype=np.uint8)[None]
    corner = cv2.resize(label, (3, 1), interpolation=cv2.INTER_NEAREST)
    assert not np.array_equal(resize_label(label, (3, 1)), corner)


def test_the_same_size_changes_nothing(noise):
    assert np.array_equal(resize_image(noise, (61, 37)), noise)
    assert np.array_equal(resize_label(noise[:, :, 0].copy(), (61, 37)), noise[:, :, 0])
