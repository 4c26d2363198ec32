"""Data of AdaptSegNet, MaxSquare and Adversarial_DA_Exp: labels, training views, city lists."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
import torch

from tests.parity.images import centre_view, normalised, opened, stored
from uda_hydra.augment.training import RandomView
from uda_hydra.augment.warp import warp
from uda_hydra.data.labels import CITYSCAPES19, SYNTHIA13, SYNTHIA16
from uda_hydra.data.readers import cityscapes as city
from uda_hydra.data.readers import synthia
from uda_hydra.data.readers.city_split import PARTS
from uda_hydra.data.readers.image_set import class_table
from uda_hydra.types import IGNORE

LABELS = {
    "cityscapes19": (city.IDS, CITYSCAPES19),
    "cityscapes16": (city.IDS, SYNTHIA16),
    "cityscapes13": (city.IDS, SYNTHIA13),
    "synthia19": (synthia.IDS, CITYSCAPES19),
    "synthia16": (synthia.IDS, SYNTHIA16),
    "gta5": (city.IDS, CITYSCAPES19),
}
VIEWS = ["transform_resize", "transform_resize_rgb", "transform_mirror_blur"]
VIEWS += ["transform_scale_crop"]


class Scripted(Random):
    """Says what the release drew; an integer must lie where it could have been drawn."""

    def __init__(self, *numbers: float) -> None:
        super().__init__()
        self.numbers = [*numbers]

    def random(self) -> float:
        return self.numbers.pop(0)

    def randint(self, a: int, b: int) -> int:
        assert a <= self.numbers[0] <= b
        return self.numbers.pop(0)


@pytest.fixture
def sample(reference, tmp_path):
    """Image and train ids of a case, read from files."""

    def read(case):
        inputs = case.inputs["image"], case.inputs["label_ids"]
        return opened(stored(tmp_path, "cityscapes", CITYSCAPES19, *inputs))

    return read


def assert_equal(case, image: torch.Tensor, label: torch.Tensor, family: str = "caffe") -> None:
    # Made with Pillow 13: another version may differ by a grey level in rare pixels.
    found = normalised(image.permute(1, 2, 0).numpy(), family)
    torch.testing.assert_close(found, case.out["image"], rtol=0, atol=1e-3)
    assert torch.equal(label.long(), case.out["label"].where(case.out["label"] >= 0, IGNORE))


@pytest.mark.parametrize("name", LABELS)
def test_label_maps(reference, name):
    case = reference("output_adversarial")["label_maps"]
    # -1 is the licence plate, which an 8-bit label cannot hold.
    ids, label_space = LABELS[name]
    found = class_table(label_space.raw_ids(ids), 256)[case.inputs["ids"].numpy().astype(np.uint8)]
    assert np.array_equal(np.where(found == IGNORE, -1, found.astype(int)), case.out[name])


@pytest.mark.parametrize("name", VIEWS)
def test_training_views(reference, sample, name):
    case = reference("output_adversarial")[name]
    args = case.args
    crop = args["crop_w"], args["crop_h"]
    scales = base = None
    blur, drawn = 0.0, [0.0]
    if "base_w" in args:
        scales, base = [0.5, 2.0], [args["base_w"], args["base_h"]]
        drawn += [args["short_size"], args["x1"], args["y1"]]
    drawn += [0.0]
    if "blur_radius" in args:
        blur = 1.0
        drawn += [args["blur_radius"]]
    random = Scripted(*drawn)
    mirror = float(args.get("mirror", 0))
    augmentation = RandomView(mirror=mirror, blur=blur, scale_range=scales, scale_base=base)
    seen = augmentation.source(*sample(case), crop, random)
    assert not random.numbers
    family = "torchvision" if name.endswith("rgb") else "caffe"
    assert_equal(case, seen.image(), seen.label, family)


def test_validation_view(reference, sample):
    case = reference("output_adversarial")["transform_center_crop"]
    image, label = sample(case)
    crop = case.args["crop_w"], case.args["crop_h"]
    view = centre_view((image.shape[2], image.shape[1]), crop)
    assert_equal(case, warp(image, view, kind="image"), warp(label, view, kind="label"))


def test_city_lists(reference, tmp_path):
    case = reference("output_adversarial")["city_split"]
    for name in case.inputs["ids"]:
        stem = name.removeprefix("train_")
        path = tmp_path / "leftImg8bit" / "train" / stem.split("_")[0]
        path.mkdir(parents=True, exist_ok=True)
        (path / f"{stem}_leftImg8bit.png").touch()
    for part in PARTS:
        found = city.cityscapes(tmp_path, label_space=CITYSCAPES19, split=part, labelled=False)
        names = [f"train_{sample.key.split('/')[1]}" for sample in found.samples]
        assert names == case.out[part]


def test_no_case_is_left_out(reference):
    names = {*VIEWS, "transform_center_crop", "label_maps", "city_split"}
    found = reference("output_adversarial").names()
    data = [name for name in found if name.startswith(("transform", "label_", "city"))]
    assert names == set(data)
