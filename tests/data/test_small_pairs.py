"""CamVid and IDDA: their files, their classes, and the pairs made of them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from layouts import write_grey_label, write_image
from PIL import Image

from tests.conftest import ROOT, composed
from uda_hydra import build
from uda_hydra.config import plain
from uda_hydra.data.check import check
from uda_hydra.data.labels import CAMVID11, IDDA24
from uda_hydra.data.readers import UnreadableFile, check_options, cityscapes, synthia
from uda_hydra.data.readers import idda as idda_files
from uda_hydra.data.readers.camvid import camvid
from uda_hydra.data.readers.idda import idda, without_bonnet

FRAMES = {
    "train": ["0001TP_006690", "0006R0_f00930", "0016E5_00390"],
    "val": ["0016E5_07959"],
    "test": ["0001TP_008550", "Seq05VD_f00000"],
}
LISTS = {
    "train": ["7_T01_CN_A", "8_T01_CS_J", "9_T03_CN_J"],
    "test_same_dom": ["10_T02_CN_A"],
    "test_diff_dom": ["11_T01_HRN_A", "12_T03_HRN_J"],
}
BONNET = 10
"""Raw id of a vehicle."""


@pytest.fixture
def frames(tmp_path):
    """CamVid of one row of pixels, class by class; the image of void is there as JPEG."""
    root = tmp_path / "CamVid"
    for split, names in FRAMES.items():
        for name in names:
            write_image(root / split / f"{name}.png")
            ids = np.arange(12, dtype=np.uint8)[None]
            write_grey_label(root / f"{split}annot" / f"{name}.png", ids)
    return root


@pytest.fixture
def rendered(tmp_path):
    """IDDA at 32x18: 15 rows of road, and three that show the bonnet."""
    root = tmp_path / "IDDA"
    for split, names in LISTS.items():
        for name in names:
            ids = np.full((18, 32), 7, np.uint8)
            ids[15:] = BONNET
            write_grey_label(root / "labels" / f"{name}.png", ids)
            (root / "images").mkdir(exist_ok=True)
            Image.fromarray(np.dstack([ids] * 3)).save(root / "images" / f"{name}.jpg")
        (root / f"{split}.txt").write_text("\n".join(names) + "\n")
    return root


def keys(image_set):
    return [sample.key for sample in image_set.samples]


# CamVid.


def test_camvid_numbers_eleven_classes_and_ignores_void(frames):
    found = camvid(frames, label_space=CAMVID11, split="val")
    assert found.read_label(found.samples[0]).tolist() == [[*range(11), 255]]


def test_camvid_takes_splits_and_sequences(frames):
    def chosen(**options):
        return keys(camvid(frames, label_space=CAMVID11, **options))

    assert chosen(split=["train", "val"]) == sorted(FRAMES["train"] + FRAMES["val"])
    assert chosen(split=["train", "test"], sequences=["0001TP"]) == [
        "0001TP_006690",
        "0001TP_008550",
    ]
    assert chosen(split="test", sequences=["0016E5", "Seq05VD"]) == ["Seq05VD_f00000"]


def test_camvid_reads_jpegs_and_segnets_own_lists(frames, tmp_path):
    (frames / "train/0001TP_006690.png").unlink()
    write_image(frames / "train/0001TP_006690.jpg")
    listed = tmp_path / "train.txt"
    folder = "/SegNet/CamVid/train"
    listed.write_text(f"{folder}/0001TP_006690.png {folder}annot/0001TP_006690.png\n")
    found = camvid(frames, label_space=CAMVID11, split="train", list_file=listed)
    assert [sample.image.name for sample in found.samples] == ["0001TP_006690.jpg"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"split": "dev"}, "CamVid has the splits train, val, test, not 'dev'"),
        ({"split": []}, r"CamVid has the splits train, val, test, not \[\]"),
        ({"split": "val", "sequences": ["0016E6"]}, "sequences may be .*0016E5.*, not '0016E6'"),
        ({"split": "val", "sequences": ["0001TP"]}, "no image left by sequences=.0001TP."),
    ],
)
def test_what_camvid_does_not_have_is_refused(frames, options, complaint):
    with pytest.raises(ValueError, match=complaint):
        camvid(frames, label_space=CAMVID11, **options)


def test_a_sequence_that_yaml_reads_as_a_number_is_refused(frames):
    values = {"root": frames, "split": "val", "sequences": [16e5]}
    with pytest.raises(ValueError, match=r"source\.sequences must be a list of texts.*1600000\.0"):
        check_options(camvid, values, "dataset.source")


def test_an_image_in_two_splits_is_refused(frames):
    write_image(frames / "val/0006R0_f00930.png")
    with pytest.raises(ValueError, match="two files for 0006R0_f00930"):
        camvid(frames, label_space=CAMVID11, split=["train", "val"], labelled=False)


# IDDA.


def test_classes_of_idda_merge_into_those_of_camvid():
    ids = idda_files.LAYOUT.ids
    assert dict(zip(CAMVID11.names, CAMVID11.raw_ids(ids), strict=True)) == {
        "sky": (20,),
        "building": (1, 11),
        "pole": (5,),
        "road": (7, 6),
        "pavement": (8,),
        "tree": (9, 19),
        "sign": (13, 12),
        "fence": (2, 14),
        "car": (10,),
        "pedestrian": (4,),
        "bicyclist": (18, 16, 17),
    }
    assert IDDA24.raw_ids(ids) == tuple((raw,) for raw in range(24))


@pytest.mark.parametrize("ids", [cityscapes.IDS, synthia.IDS])
def test_every_class_of_camvid_is_in_the_game_and_in_synthia(ids):
    assert all(CAMVID11.raw_ids(ids))


def test_the_bonnet_is_cut_off(rendered):
    found = idda(rendered, label_space=IDDA24)
    label = found.read_label(found.samples[0])
    assert label.shape == (15, 32)
    assert (label == 7).all()
    assert found.read_image(found.samples[0]).max() < BONNET
    report = check(found, workers=0)
    assert (report.ok, report.pixels) == (True, {7: 6 * 15 * 32})
    assert "32x15 (6)" in report.text()


@pytest.mark.parametrize(
    ("before", "after"), [((1080, 1920), 936), ((936, 1920), 936), ((360, 738), 360)]
)
def test_rows_above_the_bonnet(before, after):
    pixels = np.arange(before[0])[:, None].repeat(before[1], axis=1)
    assert np.array_equal(without_bonnet(Path("7.png"), pixels), pixels[:after])


def test_another_ratio_is_an_error_of_one_line(rendered):
    write_image(rendered / "images/odd.png")
    odd = next((rendered / "images").glob("12_*"))
    (rendered / "images/odd.png").rename(odd.with_suffix(".png"))
    odd.unlink()
    found = idda(rendered, label_space=IDDA24, split="test_diff_dom")
    with pytest.raises(UnreadableFile, match=r"12_T03_HRN_J.png has 4x6 pixels; .*1920x1080"):
        found.read_image(found.samples[1])
    assert len(check(found, workers=0).broken) == 1


def test_idda_takes_lists_towns_weathers_and_cars(rendered, tmp_path):
    def chosen(**options):
        return keys(idda(rendered, label_space=IDDA24, **options))

    assert len(chosen()) == 6
    assert chosen(split=["train", "test_same_dom"]) == sorted(
        LISTS["train"] + LISTS["test_same_dom"]
    )
    assert chosen(towns=["T01"], weathers=["CN", "HRN"]) == ["11_T01_HRN_A", "7_T01_CN_A"]
    assert chosen(split="train", weathers=["CN"], cars=["J"]) == ["9_T03_CN_J"]
    listed = tmp_path / "mine.txt"
    listed.write_text("8_T01_CS_J.jpg\n12_T03_HRN_J\n")
    assert chosen(list_file=listed) == ["12_T03_HRN_J", "8_T01_CS_J"]
    assert chosen(split="train", list_file=listed) == ["8_T01_CS_J"]


def test_what_idda_does_not_have_is_refused(rendered):
    with pytest.raises(ValueError, match="towns may be T01, T02, T03, not 'T04'"):
        idda(rendered, label_space=IDDA24, towns=["T04"])
    with pytest.raises(ValueError, match=r"no image left by cars=\[J\]"):
        idda(rendered, label_space=IDDA24, split="test_same_dom", cars=["J"])
    (rendered / "labels/9_T03_CN_J.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 images without a label: .*9_T03_CN_J"):
        idda(rendered, label_space=IDDA24, split="train")
    (rendered / "train.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"no list .*train\.txt; .*split=all needs none"):
        idda(rendered, label_space=IDDA24, split="train", labelled=False)


# The pairs.


@pytest.mark.parametrize(
    ("dataset", "source", "target"),
    [
        ("idda2camvid", 492 / 240, 320 / 240),
        ("camvid_day2dusk", 320 / 240, 320 / 240),
        ("idda_clear2rain", 492 / 240, 492 / 240),
        ("gta2camvid", 1914 / 1052, 320 / 240),
        ("synthia2camvid", 1280 / 760, 320 / 240),
    ],
)
@pytest.mark.parametrize(
    ("chosen", "rows", "momentum", "block"),
    [(["method=mic/daformer"], 180, 0.9, 11), (["method=dacs", "scale=paper"], 360, 0.99, 32)],
)
def test_sizes_keep_the_ratios_and_teachers_follow(
    dataset, source, target, chosen, rows, momentum, block
):
    config = composed(f"dataset={dataset}", *chosen)
    assert (config.method.ema_momentum, config.method.mask_block) == (momentum, block)
    for side, ratio in ((config.dataset.source, source), (config.dataset.target, target)):
        assert plain(side.size) == [round(ratio * rows), rows]
    assert plain(config.augmentation.crop) == [round(4 / 3 * rows), rows]


@pytest.mark.parametrize("method", ["source_only", "proca/adapt", "fada/adapt", "proda/warmup"])
def test_both_domains_are_seen_in_crops_of_one_size(frames, rendered, method):
    """Without a padded pixel."""
    pair = made("idda2camvid", rendered, frames, "dataset.cache=false", f"method={method}")
    assert (len(pair.source.keys), len(pair.target.keys)) == (4, 4)
    assert (pair.validation.images.keys, pair.source_validation.images.keys) == (
        tuple(FRAMES["test"]),
        tuple(LISTS["test_diff_dom"]),
    )
    batches = pair.streams(seed=0, steps=range(1), batch_size=2, workers=0, pin=False)
    source, target = next(iter(batches))
    assert source.image.shape == target.image.shape == (2, 3, 180, 240)
    assert source.label.unique().tolist() == [CAMVID11.names.index("road")]


def made(dataset: str, source: Path, target: Path, *overrides: str):
    """The pair of a config at other places."""
    roots = (f"dataset.source.root={source}", f"dataset.target.root={target}")
    return build.pair(composed(f"dataset={dataset}", *roots, *overrides))


# The data themselves.


@pytest.fixture(scope="module")
def data():
    """Folder with CamVid and IDDA."""
    folder = Path(os.environ.get("UDA_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "CamVid").is_dir() or not (folder / "IDDA").is_dir():
        pytest.skip(f"no CamVid and IDDA at {folder}; set UDA_DATA to their folder")
    return folder


TOWNS = (
    "dataset.source.towns=[T01]",
    "dataset.target.towns=[T03]",
    "dataset.target.split=train",
    "dataset.target.weathers=[CN]",
    "dataset.target.cars=null",
    "dataset.target.validation={split: test_same_dom, cars: null}",
)
"""As the header of idda_clear2rain says."""


@pytest.mark.parametrize(
    ("dataset", "source", "target", "overrides", "counts"),
    [
        ("idda2camvid", "IDDA", "CamVid", (), (720, 468, 233, 60)),
        ("camvid_day2dusk", "CamVid", "CamVid", (), (577, 62, 62, None)),
        ("idda_clear2rain", "IDDA", "IDDA", (), (300, 60, 60, 60)),
        ("idda_clear2rain", "IDDA", "IDDA", TOWNS, (100, 100, 20, 20)),
    ],
)
def test_parts_of_the_pairs(data, dataset, source, target, overrides, counts):
    pair = made(dataset, data / source, data / target, *overrides)
    held_out = pair.source_validation
    found = (len(part) for part in (pair.source.keys, pair.target.keys, pair.validation))
    assert (*found, held_out and len(held_out)) == counts
    assert not {*pair.target.keys} & {*pair.validation.images.keys}


# Per cent of the pixels, sky to bicyclist, then void.
SHARES = {
    "train": [16.9, 23.3, 1.0, 31.5, 4.5, 9.7, 1.2, 1.1, 5.9, 0.6, 0.3, 3.9],
    "test": [17.2, 24.6, 1.2, 25.7, 9.3, 11.3, 1.0, 1.2, 4.0, 0.6, 0.2, 3.8],
    "all": [28.2, 20.6, 1.0, 24.6, 9.1, 10.5, 0.19, 0.70, 1.9, 0.17, 0.12, 2.8],
}


@pytest.mark.parametrize(
    ("reader", "folder", "split"),
    [(camvid, "CamVid", "train"), (camvid, "CamVid", "test"), (idda, "IDDA", "all")],
)
def test_shares_of_the_classes(data, reader, folder, split):
    found = reader(data / folder, label_space=CAMVID11, split=split)
    report = check(found, workers=0, pictures=False)
    assert report.ok
    assert [*report.shares[:11], report.shares[255]] == pytest.approx(
        [share / 100 for share in SHARES[split]], abs=0.002
    )
