"""Reading, resizing, augmentation and order against the official loaders."""

from __future__ import annotations

from itertools import islice
from random import Random

import numpy as np
import pytest
import torch

from tests.parity.images import centre_view, normalised, opened, stored
from uda_hydra.augment.resize import (
    resize_image,
    resize_label,
    resize_label_by_corners,
)
from uda_hydra.augment.training import RandomView
from uda_hydra.augment.warp import warp
from uda_hydra.data.class_balanced import class_balanced_draws
from uda_hydra.data.labels import CITYSCAPES19, SYNTHIA13, SYNTHIA16
from uda_hydra.data.readers import cityscapes as city
from uda_hydra.data.readers import synthia
from uda_hydra.data.readers.image_set import class_table
from uda_hydra.models.normalizations import NORMALIZATIONS
from uda_hydra.types import IGNORE, View

LABEL_CASES = [
    ("advent_gta5", "gta5", CITYSCAPES19, "label"),
    ("advent_cityscapes", "cityscapes", CITYSCAPES19, "label_full"),
    ("cfcontra_synthia16", "synthia", SYNTHIA16, "label"),
    ("maxsquare_gta5", "gta5", CITYSCAPES19, "label"),
    ("maxsquare_cityscapes_19", "cityscapes", CITYSCAPES19, "label"),
    ("maxsquare_cityscapes_16", "cityscapes", SYNTHIA16, "label"),
    ("maxsquare_cityscapes_13", "cityscapes", SYNTHIA13, "label"),
    ("maxsquare_synthia_19", "synthia", CITYSCAPES19, "label"),
    ("maxsquare_synthia_16", "synthia", SYNTHIA16, "label"),
    ("proda_gta5", "gta5", CITYSCAPES19, "label"),
    ("proda_cityscapes_19", "cityscapes", CITYSCAPES19, "label"),
    ("proda_cityscapes_16", "cityscapes", SYNTHIA16, "label"),
    ("proda_cityscapes_13", "cityscapes", SYNTHIA13, "label"),
    ("proda_synthia_19", "synthia", CITYSCAPES19, "label"),
    ("proda_synthia_16", "synthia", SYNTHIA16, "label"),
    ("proda_synthia_13", "synthia", SYNTHIA13, "label"),
    ("proca_gtav", "gta5", CITYSCAPES19, "label"),
    ("proca_cityscapes_test_19", "cityscapes", CITYSCAPES19, "label_full"),
    ("proca_cityscapes_test_16", "cityscapes", SYNTHIA16, "label_full"),
    ("proca_synthia16", "synthia", SYNTHIA16, "label"),
]
IMAGE_CASES = [
    ("advent_gta5", "gta5", "caffe"),
    ("advent_cityscapes", "cityscapes", "caffe"),
    ("cfcontra_synthia16", "synthia", "caffe"),
    ("maxsquare_cityscapes_19", "cityscapes", "caffe"),
    ("maxsquare_tensor_transform", "cityscapes", "torchvision"),
    ("proca_gtav", "gta5", "torchvision"),
    ("proca_cityscapes_test_19", "cityscapes", "torchvision"),
    ("proda_gta5", "gta5", "unit"),
    ("daformer_norm", "gta5", "daformer"),
]
OFFICIAL_IGNORE = {"maxsquare": -1, "proda": 250}


@pytest.fixture(scope="module")
def shared(reference):
    return reference("datasets")["shared"]


@pytest.fixture
def open_set(tmp_path, shared):
    """The one image and label of the ``datasets`` group."""
    labels = {
        "gta5": "gta5_label_ids",
        "cityscapes": "cityscapes_label_ids",
        "synthia": "synthia_label_rgb16",
    }
    inputs = shared.inputs
    return lambda name, space: stored(
        tmp_path, name, space, inputs["image_rgb"], inputs[labels[name]]
    )


def ours(case: str, label: torch.Tensor) -> torch.Tensor:
    """An official label map with our value for what is ignored."""
    ignore = OFFICIAL_IGNORE.get(case.split("_")[0], IGNORE)
    return label.long().where(label != ignore, IGNORE)


@pytest.mark.parametrize(("case", "name", "label_space", "out"), LABEL_CASES)
def test_labels(reference, open_set, case, name, label_space, out):
    expected = ours(case, reference("datasets")[case].out[out])
    found = open_set(name, label_space)
    label = resize_label(found.read_label(found.samples[0]), tuple(expected.shape[::-1]))
    assert torch.equal(torch.from_numpy(label).long(), expected)


@pytest.mark.parametrize(("case", "name", "family"), IMAGE_CASES)
def test_images(reference, open_set, case, name, family):
    expected = reference("datasets")[case].out["image"]
    found = open_set(name, CITYSCAPES19)
    image = resize_image(found.read_image(found.samples[0]), tuple(expected.shape[:0:-1]))
    atol = {"caffe": 0, "torchvision": 1e-6, "unit": 1e-6, "daformer": 1e-5}[family]
    torch.testing.assert_close(normalised(image, family), expected, rtol=0, atol=atol)


RAW = {"gta5": city.IDS, "gtav": city.IDS, "cityscapes": city.IDS, "synthia": synthia.IDS}
ID_MAPS = [
    *(
        ("proda", "label_maps", "ids", out, raw, label_space)
        for out, raw, label_space in [
            ("gta5", "gta5", CITYSCAPES19),
            ("cityscapes_19", "cityscapes", CITYSCAPES19),
            ("cityscapes_16", "cityscapes", SYNTHIA16),
            ("cityscapes_13", "cityscapes", SYNTHIA13),
            ("synthia_19", "synthia", CITYSCAPES19),
            ("synthia_16", "synthia", SYNTHIA16),
            ("synthia_13", "synthia", SYNTHIA13),
        ]
    ),
    ("proca", "labelmap_gtav", "raw", "train_id", "gtav", CITYSCAPES19),
    ("proca", "labelmap_synthia", "raw", "train_id", "synthia", SYNTHIA16),
    ("proca", "labelmap_cityscapes19", "raw", "train_id", "cityscapes", CITYSCAPES19),
    ("proca", "labelmap_cityscapes16", "raw", "train_id", "cityscapes", SYNTHIA16),
    ("cfcontra", "data_synthia", "ids", "label_trainid19", "synthia", CITYSCAPES19),
    ("cfcontra", "data_synthia", "ids", "label_compact16", "synthia", SYNTHIA16),
]
ONLY_OURS = [16, 18, 20]
"""Terrain, truck and train: CFContra ignores these ids of SYNTHIA, of which no file has a pixel."""


@pytest.mark.parametrize(("group", "case", "key", "out", "raw", "label_space"), ID_MAPS)
def test_classes_of_raw_ids(reference, group, case, key, out, raw, label_space):
    ids = reference(group)[case].inputs[key].numpy().astype(np.uint8)
    table = class_table(label_space.raw_ids(RAW[raw]), 256).copy()
    if out == "label_trainid19":
        table[ONLY_OURS] = IGNORE
    expected = ours(group, reference(group)[case].out[out])
    assert torch.equal(torch.from_numpy(table[ids]).long(), expected)


def test_classes_of_synthia_among_those_of_cityscapes(reference):
    case = reference("proca")["labelmap_16to19"]
    numbers = torch.tensor([CITYSCAPES19.names.index(name) for name in SYNTHIA16.names])
    assert numbers[case.inputs["pred"].long()].equal(case.out["pred"].long())


@pytest.mark.parametrize(("name", "family"), [("rgb", "torchvision"), ("bgr255", "vgg")])
def test_normalisation_of_proca(reference, name, family):
    case = reference("proca")[f"normalize_{name}"]
    for key in ("mean", "std"):
        ours = getattr(NORMALIZATIONS[family], key)
        assert ours == pytest.approx(case.inputs[key].tolist(), rel=1e-9)
    found = normalised(case.inputs["image"].numpy(), family)
    torch.testing.assert_close(found, case.out["image"], rtol=0, atol=1e-4)


@pytest.fixture
def sample(open_set):
    """Image and train ids of the one sample, as of Cityscapes."""
    return opened(open_set("cityscapes", CITYSCAPES19))


def assert_equal(name: str, case, image: torch.Tensor, label: torch.Tensor) -> None:
    assert torch.equal(normalised(image.permute(1, 2, 0).numpy()), case.out["image"])
    assert torch.equal(label.long(), ours(name, case.out["label"]))


@pytest.mark.parametrize("number", range(3))
def test_training_views_of_maxsquare(reference, shared, sample, number):
    name = f"maxsquare_train_aug_{number}"
    case = reference("datasets")[name]
    crop = shared.args["crop_wh"].tolist()
    augmentation = RandomView(mirror=0.5, blur=0.5, scale_range=[0.5, 2.0], scale_base=crop)
    random = Random(case.args["python_random_seed"])
    seen = augmentation.source(*sample, tuple(crop), random)
    assert_equal(name, case, seen.image(), seen.label)


def test_validation_view_of_maxsquare(reference, sample):
    case = reference("datasets")["maxsquare_val_centercrop"]
    image, label = sample
    view = centre_view((image.shape[2], image.shape[1]), tuple(case.args["crop_wh"].tolist()))
    shown = warp(image, view, kind="image"), warp(label, view, kind="label")
    assert_equal("maxsquare_val_centercrop", case, *shown)


def test_class_balanced_list(reference):
    case = reference("datasets")["proca_class_balanced_list"]
    draws = class_balanced_draws(
        case.inputs["has_class"].numpy(),
        random=np.random.RandomState(case.args["numpy_seed"]),
        skip_first=True,
    )
    found = np.array([*islice(draws, case.out["len_data_list"])])
    # The files of the case are numbered from 1.
    assert np.array_equal(found + 1, case.out["file_numbers"].numpy())


def test_no_case_is_left_out(reference):
    tested = {case for case, *_ in (*LABEL_CASES, *IMAGE_CASES)}
    tested |= {f"maxsquare_train_aug_{number}" for number in range(3)}
    tested |= {"maxsquare_val_centercrop", "proca_class_balanced_list", "shared"}
    tested |= {"resize_down", "resize_up", "resize_label_quarter"}
    assert tested == set(reference("datasets").names())


@pytest.mark.parametrize(
    ("name", "out"), [("gta5", "source_label"), ("cityscapes", "target_label")]
)
def test_a_sample_of_stage_1(reference, tmp_path, name, out):
    case = reference("caco")["load_stage1"]
    found = stored(tmp_path, name, CITYSCAPES19, case.inputs["rgb"], case.inputs["label_ids"])
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


@pytest.mark.parametrize("case", ["resize_down", "resize_up"])
def test_opencv_resizing(reference, shared, case):
    case = reference("datasets")[case]
    size = tuple(case.args["size_wh"].tolist())
    image = resize_image(shared.inputs["image_rgb"].numpy(), size, filter="opencv")
    assert np.array_equal(image, case.out["cv2_linear"].numpy())
    label = resize_label_by_corners(shared.inputs["gta5_label_ids"].numpy(), size)
    assert np.array_equal(label, case.out["cv2_nearest_label"].numpy())


def test_label_at_a_quarter(reference, shared):
    expected = reference("datasets")["resize_label_quarter"].out["torch_nearest"]
    label = shared.inputs["gta5_label_ids"]
    view = View((label.shape[1], label.shape[0]))
    assert warp(label, view, kind="label", stride=4).equal(expected)


@pytest.mark.parametrize("case", ["resize_down", "resize_up"])
def test_resized_labels(reference, shared, case):
    case = reference("datasets")[case]
    label = shared.inputs["gta5_label_ids"].numpy()
    resized = resize_label(label, tuple(case.args["size_wh"].tolist()))
    assert np.array_equal(resized, case.out["pil_nearest_label"].numpy())
