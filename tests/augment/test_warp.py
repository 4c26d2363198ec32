"""Views by hand: crops, mirrors, composition, kinds and strides."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from uda_hydra.augment.view import extend, output_size
from uda_hydra.augment.warp import warp
from uda_hydra.types import (
    IGNORE,
    Crop,
    CutOut,
    Mirror,
    Resize,
    Rotate,
    Shear,
    Translate,
    View,
    upsample,
)

SIZE = (20, 12)


@pytest.fixture
def label():
    return torch.arange(240, dtype=torch.uint8).reshape(12, 20)


def test_a_crop_beyond_the_border_is_black_and_ignored(label):
    view = View(SIZE, (Crop(-2, 9, 6, 5),))
    image = warp(label.expand(3, -1, -1) + 1, view, kind="image")
    seen = warp(label, view, kind="label")
    assert image.shape == (3, 5, 6) and seen.shape == (5, 6)
    assert torch.equal(seen[:3, 2:], label[9:, :4])
    assert (seen[3:] == IGNORE).all() and (seen[:, :2] == IGNORE).all()
    assert torch.equal(image[0, :3, 2:], label[9:, :4] + 1)
    assert not image[:, 3:].any() and not image[:, :, :2].any()


def test_single_operations_on_labels_by_hand(label):
    def seen(operation):
        return warp(label, View(SIZE, (operation,)), kind="label")

    assert torch.equal(seen(Mirror()), label.flip(1))
    moved = seen(Translate(3, -2))
    assert torch.equal(moved[2:, :17], label[:10, 3:])
    assert (moved[:2] == IGNORE).all() and (moved[:, 17:] == IGNORE).all()
    cut = seen(CutOut(1, 2, 4, 5))
    assert (cut[2:5, 1:4] == IGNORE).all()
    assert (cut != label).sum() == 9
    assert torch.equal(seen(Rotate(180.0)), label.flip(0, 1))
    # Row j shows what lies j + 1/2 columns to the right, rounded down.
    sheared = seen(Shear(1.0, 0.0))
    assert all(torch.equal(sheared[j, : 19 - j], label[j, j + 1 :][: 19 - j]) for j in range(12))


@pytest.mark.parametrize(
    "operation", [Rotate(17.0), Rotate(-30.0), Shear(0.21, 0.0), Shear(0.0, -0.1), Translate(3, -5)]
)
def test_labels_move_as_pillow_moves_images(operation):
    label = np.random.default_rng(0).integers(0, 19, (33, 47), dtype=np.uint8)
    picture = Image.fromarray(label)
    match operation:
        case Rotate(degrees):
            expected = picture.rotate(degrees, fillcolor=IGNORE)
        case Shear(x, y):
            matrix = (1, x, 0, y, 1, 0)
            expected = picture.transform(picture.size, Image.AFFINE, matrix, fillcolor=IGNORE)
        case Translate(x, y):
            matrix = (1, 0, x, 0, 1, y)
            expected = picture.transform(picture.size, Image.AFFINE, matrix, fillcolor=IGNORE)
    found = warp(torch.from_numpy(label), View((47, 33), (operation,)), kind="label").numpy()
    # Pillow works in 16-bit fractions.
    assert (found != np.asarray(expected)).mean() < 0.01


def test_a_composition_is_one_view_after_the_other(label):
    first = View(SIZE, (Resize(30, 18), Crop(3, 2, 16, 12), Mirror()))
    second = View((16, 12), (Rotate(20.0), CutOut(2, 2, 5, 7)))
    both = View(first.size, first.operations + second.operations)
    assert output_size(both) == (16, 12)
    step = warp(warp(label, first, kind="label"), second, kind="label")
    assert torch.equal(warp(label, both, kind="label"), step)


def test_soft_labels_equal_the_long_way():
    """Enlarge, resize, crop, mirror, shrink: with every map in between."""
    stored = torch.rand(5, 7, 9).softmax(0)
    view = View((40, 24), (Resize(52, 30), Crop(5, 3, 32, 16), Mirror()))
    large = upsample(upsample(stored[None], (24, 40)), (30, 52))
    crop = large[:, :, 3:19, 5:37].flip(3)
    expected = upsample(crop, (4, 8))[0]
    torch.testing.assert_close(warp(stored, view, kind="soft", stride=4), expected)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(warp(stored, view, kind="soft", stride=4), expected)
    turned = extend(view, Rotate(15.0))
    quarter = View((32, 16), (Rotate(15.0),))
    again = warp(expected, quarter, kind="feature", stride=4)
    torch.testing.assert_close(warp(stored, turned, kind="soft", stride=4), again)


class Largest(TorchDispatchMode):
    """Notes the largest tensor that anything in it makes."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        sizes = [t.untyped_storage().nbytes() for t in tree_leaves(result) if torch.is_tensor(t)]
        self.bytes = max(self.bytes, *sizes, 0)
        return result


@pytest.mark.parametrize(
    ("kind", "stored", "shape", "limit"),
    [
        ("soft", torch.rand(19, 129, 257), (19, 128, 224), 20e6),
        ("label", torch.zeros(1024, 2048, dtype=torch.uint8), (128, 224), 3e6),
    ],
)
def test_no_map_on_the_way_to_a_crop_is_large(kind, stored, shape, limit):
    # ProDA's sizes; by its release's resizes the second map of a soft label takes 160 MB and the
    # third 400 MB, and a number for every pixel of an enlarged label 44 MB.
    crop = (Resize(3300, 1650), Crop(700, 400, 896, 512), Mirror())
    with Largest() as largest:
        seen = warp(stored, View((2048, 1024), crop), kind=kind, stride=4)
    assert seen.shape == shape
    assert largest.bytes < limit


def test_hard_labels_at_a_stride_are_every_fourth_pixel(label):
    view = View(SIZE, (Crop(4, 0, 16, 12), Mirror()))
    whole = warp(label, view, kind="label")
    assert torch.equal(warp(label, view, kind="label", stride=4), whole[::4, ::4])
    small = label[::2, ::2].contiguous()
    assert warp(small, View(SIZE), kind="label").shape == (12, 20)


def test_every_kind_has_as_many_cells_at_a_stride():
    # 18 and 10 are no multiples of 4: what is left over belongs to no cell.
    view = View(SIZE, (Crop(0, 0, 18, 10),))
    soft = torch.zeros(2, 12, 20)
    assert warp(soft, view, kind="soft", stride=4).shape == (2, 2, 4)
    assert warp(soft.byte()[0], view, kind="label", stride=4).shape == (2, 4)
    assert warp(soft[:, ::4, ::4], view, kind="feature", stride=4).shape == (2, 2, 4)


def test_what_cannot_be_warped_is_refused():
    view = View(SIZE, (Rotate(3.0), Resize(4, 4)))
    with pytest.raises(ValueError, match="cannot be resized"):
        warp(torch.rand(2, 12, 20), view, kind="soft")
    with pytest.raises(ValueError, match="image, label, soft, feature"):
        warp(torch.rand(2, 12, 20), view, kind="hard")
