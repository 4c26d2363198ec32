"""Crops that pseudo labels help to choose."""

from dataclasses import replace
from random import Random

import pytest
import torch

from uda_hydra.augment.guided import MinedCrop, VariedCrop, around, moved_crop
from uda_hydra.augment.warp import warp
from uda_hydra.types import IGNORE, Crop, Resize

OPTIONS = {
    "base": 2.0,
    "scale_range": [0.8, 1.2],
    "crop": [20, 10],
    "min_values": 1,
    "mirror": 0.5,
    "recolour": False,
    "plain": True,
    "whole": True,
}


@pytest.fixture
def image():
    """Its columns are numbered, so that a crop shows where it comes from."""
    return torch.arange(80, dtype=torch.uint8).mul(2).expand(3, 40, 80).contiguous()


def test_both_crops_show_the_same_place(image):
    crops = VariedCrop(**OPTIONS)
    label = image[0]
    for seed in range(8):
        seen = crops.target(image, (40, 20), Random(seed))
        assert seen.image.shape == seen.plain.image.shape == (3, 10, 20)
        assert seen.whole.shape == (3, 20, 40)
        for one in (seen, seen.plain):
            shown = warp(label, one.view, kind="label").float()
            assert (shown - one.image[0].float()).abs().max() <= 3
        centres = [float(one.image.float().mean()) for one in (seen, seen.plain)]
        # Columns are two grey values apart, and the scaled crop shows 16 to 25 of them.
        assert abs(centres[0] - centres[1]) <= 10


def test_a_random_size_is_rounded(image):
    crops = VariedCrop(**{**OPTIONS, "base": 1.0, "scale_range": [0.94, 0.94]})
    # 37.6 by 18.8 pixels.
    view = crops.target(image, (40, 20), Random(0)).view
    assert view.operations[0] == Resize(38, 19)


def test_a_crop_is_drawn_again_until_it_shows_enough_classes(image):
    label = torch.zeros(40, 80, dtype=torch.uint8)
    label[:, 60:] = 1
    crops = VariedCrop(**OPTIONS)

    def count(view):
        return len(warp(label, view, kind="label").unique())

    draws = [Random(seed) for seed in range(20)]
    shown = [count(crops.guided(image, label, (40, 20), draw).view) for draw in draws]
    blind = [count(crops.target(image, (40, 20), draw).view) for draw in draws]
    # One draw in four shows both; ten draws rarely fail.
    assert shown.count(2) >= 17
    assert blind.count(2) <= 10
    # Where no crop can, the last one is taken.
    assert crops.guided(image, label * 0, (40, 20), Random(0)).image.shape == (3, 10, 20)


def test_only_the_first_crop_is_recoloured(image):
    plain, coloured = (
        VariedCrop(**{**OPTIONS, "recolour": recolour}).target(image, (40, 20), Random(5))
        for recolour in (False, True)
    )
    assert plain.view == coloured.view
    assert plain.plain.image.equal(coloured.plain.image)
    assert any(
        not VariedCrop(**{**OPTIONS, "recolour": True})
        .target(image, (40, 20), Random(seed))
        .image.equal(VariedCrop(**OPTIONS).target(image, (40, 20), Random(seed)).image)
        for seed in range(4)
    )


def test_a_place_is_moved_in_proportion_to_what_is_free():
    # 40 of 60 free columns are 20 of 30; 5 of 10 rows are all of 0.
    assert moved_crop(Crop(40, 5, 20, 10), (80, 20), (50, 10)) == Crop(20, 0, 20, 10)
    assert moved_crop(Crop(0, 0, 20, 10), (20, 10), (50, 10)) == Crop(0, 0, 20, 10)
    # 11 * (15 / 11) is just below 15.
    assert moved_crop(Crop(11, 0, 10, 10), (21, 10), (25, 10)).x == 14


@pytest.mark.parametrize(
    ("key", "value"),
    [("base", 0.0), ("crop", [0, 4]), ("scale_range", [1.2, 0.8]), ("mirror", 2.0)],
)
def test_options_are_checked(key, value):
    with pytest.raises(ValueError, match=rf"augmentation\.{key} must be"):
        VariedCrop(**{**OPTIONS, key: value})


@pytest.mark.parametrize(
    ("place", "have", "want", "start"),
    [(900, 1024, 512, 512), (600, 1024, 512, 344), (100, 2048, 1024, 0), (5, 10, 20, 0)],
)
def test_a_window_around_a_place(place, have, want, start):
    assert around(place, have, want) == start


def test_crops_are_placed_around_something_rare(image):
    label = torch.full((40, 80), IGNORE, dtype=torch.uint8)
    label[3, 70] = 6
    crops = MinedCrop(
        scale_range=[1.0, 1.0], scale_base=None, crop=[20, 10], mirror=0.5, blur=0.0, chance=1.0
    )
    draws = [Random(seed) for seed in range(8)]
    for draw in draws:
        seen = crops.guided(image, label, (80, 40), draw)
        assert seen.image.shape == (3, 10, 20)
        assert 6 in warp(label, seen.view, kind="label")
    # Where nothing is rare, and without a label, a crop is anywhere.
    free = [
        {seen.guided(image, one, (80, 40), draw).view for draw in map(Random, range(8))}
        for seen, one in ((crops, label * 0 + IGNORE), (replace(crops, chance=0.0), label))
    ]
    assert len(free[0]) == len(free[1]) == 8
    assert crops.target(image, (80, 40), Random(0)).image.shape == (3, 10, 20)
    with pytest.raises(ValueError, match=r"augmentation\.chance must be a probability"):
        replace(crops, chance=2.0)
