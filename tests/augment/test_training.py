"""Augmentations drawn by hand."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch

from uda_hydra.augment.picture import from_pillow, to_pillow
from uda_hydra.augment.policies import soften
from uda_hydra.augment.ratio import RatioCrop
from uda_hydra.augment.training import RandomView, WeakStrong
from uda_hydra.augment.view import is_varied, output_size, random_scale
from uda_hydra.augment.warp import warp
from uda_hydra.types import IGNORE, CutOut, Mirror, Resize


@pytest.fixture
def sample():
    """The label is the red channel, so that both must move together."""
    image = np.random.default_rng(0).integers(0, 19, (3, 12, 20), dtype=np.uint8)
    return torch.from_numpy(image), torch.from_numpy(image[0].copy())


def test_blurring_a_point_spreads_and_keeps_it():
    point = torch.zeros(3, 9, 9, dtype=torch.uint8)
    point[:, 4, 4] = 255
    spread = from_pillow(soften(to_pillow(point), 0.8))
    assert 0 < spread[0, 4, 5] < spread[0, 4, 4] < 255
    assert torch.equal(from_pillow(soften(to_pillow(point), 0.0)), point)


@pytest.mark.parametrize("seed", range(20))
def test_random_crops_have_their_size_and_keep_the_ratio(sample, seed):
    augmentation = RandomView(mirror=0.0, blur=0.0, scale_range=[0.5, 2.0], scale_base=[16, 8])
    show, label, _ = augmentation.source(*sample, (14, 9), Random(seed))
    image = show()
    assert image.shape == (3, 9, 14)
    inside = label != IGNORE
    # 16/20 is more than 8/12: the width is drawn, in 8 to 32, and the height follows.
    again = Random(seed)
    again.random()
    width, height = random_scale((20, 12), (16, 8), [0.5, 2.0], again)
    assert 8 <= width <= 32 and height == 12 * width // 20
    assert inside.sum() == min(width, 14) * min(height, 9)
    assert not image[:, ~inside].any()


def test_all_is_off_or_on(sample):
    image, label = sample
    off = {"mirror": 0.0, "blur": 0.0, "scale_range": None, "scale_base": None}
    assert torch.equal(RandomView(**off).source(*sample, (20, 12), Random(0)).image(), image)
    on = RandomView(**off | {"mirror": 1.0, "blur": 1.0})
    seen = on.source(*sample, (20, 12), Random(0))
    assert torch.equal(seen.label, label.flip(1))
    assert not torch.equal(seen.image(), image.flip(2))


def test_a_common_crop_gives_both_domains_one_size(sample):
    image, label = sample
    crop = RandomView(mirror=0.0, blur=0.0, scale_range=None, scale_base=None, crop=[8, 6])
    seen = crop.source(image, label, (20, 12), Random(1))
    (window,) = seen.view.operations
    rows, columns = slice(window.y, window.y + 6), slice(window.x, window.x + 8)
    assert torch.equal(seen.image(), image[:, rows, columns])
    assert torch.equal(seen.label, label[rows, columns])
    assert crop.target(image[:, :10], (20, 10), Random(1)).image.shape == (3, 6, 8)


def test_a_size_of_no_pixel_has_one(sample):
    tiny = RandomView(mirror=0.0, blur=0.0, scale_range=[0.001, 0.002], scale_base=None)
    assert tiny.source(*sample, (20, 12), Random(0)).image().shape == (3, 12, 20)


@pytest.mark.parametrize("seed", range(8))
def test_the_strong_view_is_a_view_of_the_weak_one(sample, seed):
    """A stored label, warped by both views, lies on what the strong image shows."""
    augmentation = WeakStrong(
        width=20, scale_range=[1.0, 1.5], crop=[12, 9], mirror=0.5, whole=True, strong=True
    )
    weak = augmentation.target(sample[0], (20, 12), Random(seed))
    assert weak.view == augmentation.source(*sample, (20, 12), Random(seed)).view
    assert weak.strong_view.size == output_size(weak.view) == (12, 9)
    assert isinstance(weak.strong_view.operations[-1], CutOut)
    assert torch.equal(weak.whole, sample[0])
    alone = replace(augmentation, strong=False).target(sample[0], (20, 12), Random(seed))
    assert torch.equal(alone.image, weak.image) and alone.strong is alone.strong_view is None
    label = torch.arange(108, dtype=torch.uint8).reshape(9, 12)
    shown = warp(label, weak.strong_view, kind="label")
    cut = weak.strong_view.operations[-1]
    assert (shown[cut.y0 : cut.y1, cut.x0 : cut.x1] == IGNORE).all()
    mirrored = Mirror() in weak.strong_view.operations
    if len(weak.strong_view.operations) == 1 + mirrored:
        expected = label.flip(1) if mirrored else label
        inside = shown != IGNORE
        assert torch.equal(shown[inside], expected[inside])


def test_the_height_of_a_random_width_is_rounded_down():
    augmentation = WeakStrong(
        width=20, scale_range=[1.25, 1.25], crop=[12, 9], mirror=0.0, whole=False, strong=False
    )
    # 25 of 20 columns, and 18.75 of 15 rows.
    view = augmentation.target(torch.zeros(3, 15, 20, dtype=torch.uint8), (20, 15), Random(0)).view
    assert view.operations[0] == Resize(25, 18)


def test_a_crop_shows_more_than_one_class_where_there_is_one():
    label = torch.zeros(20, 40, dtype=torch.uint8)
    label[:, 20:] = 1
    image = torch.zeros(3, 20, 40, dtype=torch.uint8)
    augmentation = RatioCrop(crop=[10, 10], max_share=0.75, mirror=0.5)
    varied = [
        is_varied(augmentation.source(image, label, (40, 20), Random(seed)).label, 0.75)
        for seed in range(50)
    ]
    # A free crop has both in 7 of 31 places; eleven tries miss with (24/31)^11 = 6 %.
    assert sum(varied) >= 40
    ignored = augmentation.source(image, label.fill_(IGNORE), (40, 20), Random(0))
    assert ignored.image().shape == (3, 10, 10)


def test_a_ratio_crop_takes_labels_by_their_upper_left_corners():
    # Columns 0, 1.6, 3.2 ... of the file: by their centres, 0.8, 2.4, they would be 0, 2, 4 ...
    label = torch.arange(16, dtype=torch.uint8).expand(16, 16).contiguous()
    image = label.expand(3, 16, 16).contiguous()
    augmentation = RatioCrop(crop=[10, 10], max_share=1.0, mirror=0.0)
    shown = augmentation.source(image, label, (10, 10), Random(0)).label
    assert shown[0].tolist() == [0, 1, 3, 4, 6, 8, 9, 11, 12, 14]


def test_varied_labels_by_hand():
    assert not is_varied(torch.tensor([[0, 0, 0, 1]], dtype=torch.uint8), 0.75)
    assert is_varied(torch.tensor([[0, 0, 1, IGNORE]], dtype=torch.uint8), 0.75)
    assert not is_varied(torch.full((2, 2), IGNORE, dtype=torch.uint8), 0.75)
