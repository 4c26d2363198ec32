"""Reading and resizing against the official loaders of GTA5, Cityscapes and SYNTHIA."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from uda_hydra.data.readers import ImageSet, cityscapes, gta5, synthia
from uda_hydra.data.resize import resize_image, resize_image_fast, resize_label
from uda_hydra.models.normalizations import normalization
from uda_hydra.types import IGNORE

LABEL_CASES = [
    ("advent_gta5", "gta5", 19, "label"),
    ("advent_cityscapes", "cityscapes", 19, "label_full"),
    ("cfcontra_synthia16", "synthia", 16, "label"),
    ("maxsquare_gta5", "gta5", 19, "label"),
    ("maxsquare_cityscapes_19", "cityscapes", 19, "label"),
    ("maxsquare_cityscapes_16", "cityscapes", 16, "label"),
    ("maxsquare_cityscapes_13", "cityscapes", 13, "label"),
    ("maxsquare_synthia_19", "synthia", 19, "label"),
    ("maxsquare_synthia_16", "synthia", 16, "label"),
    ("proda_gta5", "gta5", 19, "label"),
    ("proda_cityscapes_19", "cityscapes", 19, "label"),
    ("proda_cityscapes_16", "cityscapes", 16, "label"),
    ("proda_cityscapes_13", "cityscapes", 13, "label"),
    ("proda_synthia_19", "synthia", 19, "label"),
    ("proda_synthia_16", "synthia", 16, "label"),
    ("proda_synthia_13", "synthia", 13, "label"),
    ("proca_gtav", "gta5", 19, "label"),
    ("proca_cityscapes_test_19", "cityscapes", 19, "label_full"),
    ("proca_cityscapes_test_16", "cityscapes", 16, "label_full"),
    ("proca_synthia16", "synthia", 16, "label"),
]
IMAGE_CASES = [
    ("advent_gta5", "gta5", 19),
    ("advent_cityscapes", "cityscapes", 19),
    ("cfcontra_synthia16", "synthia", 16),
]
STEM = "aachen/aachen_000000_000019"
PLACES = {
    "gta5": ("images/00001.png", "labels/00001.png"),
    "synthia": ("RGB/0000001.png", "GT/LABELS/0000001.png"),
    "cityscapes": (
        f"leftImg8bit/train/{STEM}_leftImg8bit.png",
        f"gtFine/train/{STEM}_gtFine_labelIds.png",
    ),
}
OFFICIAL_IGNORE = {"maxsquare": -1, "proda": 250}


@pytest.fixture(scope="module")
def shared(reference):
    return reference("datasets")["shared"]


@pytest.fixture
def store(tmp_path):
    """Writes one image and its raw label as a data set of a published layout, and opens it."""

    def write(name: str, num_classes: int, image: torch.Tensor, label: torch.Tensor) -> ImageSet:
        image_path, label_path = (tmp_path / place for place in PLACES[name])
        for path in (image_path, label_path):
            path.parent.mkdir(parents=True)
        Image.fromarray(image.numpy()).save(image_path)
        if name == "synthia":
            red_last = np.ascontiguousarray(label.numpy()[:, :, ::-1])
            assert cv2.imwrite(str(label_path), red_last)
            return synthia(tmp_path, num_classes=num_classes)
        ids = Image.fromarray(label.numpy())
        if name == "gta5":
            ids.putpalette([(5 * value + 3) % 256 for value in range(768)])
        ids.save(label_path)
        if name == "gta5":
            return gta5(tmp_path, num_classes=num_classes)
        return cityscapes(tmp_path, num_classes=num_classes, split="train")

    return write


@pytest.fixture
def open_set(store, shared):
    """The one image and label of the ``datasets`` group."""
    labels = {
        "gta5": "gta5_label_ids",
        "cityscapes": "cityscapes_label_ids",
        "synthia": "synthia_label_rgb16",
    }
    inputs = shared.inputs
    return lambda name, k: store(name, k, inputs["image_rgb"], inputs[labels[name]])


def normalised(image: np.ndarray) -> torch.Tensor:
    return normalization("caffe")(torch.from_numpy(image).permute(2, 0, 1)[None])[0]


@pytest.mark.parametrize(("case", "name", "num_classes", "out"), LABEL_CASES)
def test_labels(reference, open_set, case, name, num_classes, out):
    expected = reference("datasets")[case].out[out]
    ignore = OFFICIAL_IGNORE.get(case.split("_")[0], IGNORE)
    expected = expected.long().where(expected != ignore, IGNORE)
    found = open_set(name, num_classes)
    label = resize_label(found.read_label(found.samples[0]), tuple(expected.shape[::-1]))
    assert torch.equal(torch.from_numpy(label).long(), expected)


@pytest.mark.parametrize(("case", "name", "num_classes"), IMAGE_CASES)
def test_images(reference, shared, open_set, case, name, num_classes):
    expected = reference("datasets")[case].out["image"]
    found = open_set(name, num_classes)
    size = tuple(shared.args["crop_wh"].tolist())
    image = resize_image(found.read_image(found.samples[0]), size)
    torch.testing.assert_close(normalised(image), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "out"), [("gta5", "source_label"), ("cityscapes", "target_label")]
)
def test_a_sample_of_stage_1(reference, store, name, out):
    case = reference("caco")["load_stage1"]
    found = store(name, 19, case.inputs["rgb"], case.inputs["label_ids"])
    size = tuple(case.args["size_wh"].tolist())
    image = resize_image(found.read_image(found.samples[0]), size)
    torch.testing.assert_close(normalised(image), case.out["image"], rtol=0, atol=1e-4)
    label = resize_label(found.read_label(found.samples[0]), size)
    assert torch.equal(torch.from_numpy(label).long(), case.out[out])


@pytest.mark.parametrize("case", ["resize_down", "resize_up"])
@pytest.mark.parametrize("filter", ["bicubic", "bilinear"])
def test_resized_images(reference, shared, case, filter):
    case = reference("datasets")[case]
    image, size = shared.inputs["image_rgb"].numpy(), tuple(case.args["size_wh"].tolist())
    expected = case.out[f"pil_{filter}"].numpy()
    assert np.array_equal(resize_image(image, size, filter=filter), expected)
    off = np.abs(resize_image_fast(image, size, filter=filter).astype(int) - expected)
    assert off.max() <= 1
    assert (off > 0).mean() < 0.01


@pytest.mark.parametrize("case", ["resize_down", "resize_up"])
def test_resized_labels(reference, shared, case):
    case = reference("datasets")[case]
    label = shared.inputs["gta5_label_ids"].numpy()
    resized = resize_label(label, tuple(case.args["size_wh"].tolist()))
    assert np.array_equal(resized, case.out["pil_nearest_label"].numpy())
