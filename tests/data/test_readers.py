from pathlib import Path

import numpy as np
import pytest
from layouts import (
    SIZE,
    cityscapes_folder,
    gta5_folder,
    picture,
    synthia_folder,
    write_grey_label,
    write_image,
)

from uda_hydra.data import readers
from uda_hydra.data.labels import CAMVID11, CITYSCAPES19, SYNTHIA13, SYNTHIA16
from uda_hydra.data.readers import UnreadableFile
from uda_hydra.data.readers.cityscapes import cityscapes
from uda_hydra.data.readers.decode import read_index_label
from uda_hydra.data.readers.gta5 import gta5
from uda_hydra.data.readers.gta5_split import official_split
from uda_hydra.data.readers.synthia import synthia

NAMES = ["aachen_000000_000019", "ulm_000001_000019"]


def keys(image_set):
    return [sample.key for sample in image_set.samples]


# What is read.


def test_gta5_reads_the_index_and_not_the_colour(tmp_path):
    found = gta5(gta5_folder(tmp_path, [1]), label_space=CITYSCAPES19)
    label = found.read_label(found.samples[0])
    assert label[0].tolist() == [255, 18, 255, 13]
    assert (label[1:] == 0).all()
    assert np.array_equal(found.read_image(found.samples[0]), picture(1))


def test_synthia_reads_the_class_at_16_bit(tmp_path):
    found = synthia(synthia_folder(tmp_path, [3]), label_space=SYNTHIA16)
    label = found.read_label(found.samples[0])
    assert label[0].tolist() == [255, 255, 3, 15]
    assert (label[1:] == 0).all()


def test_cityscapes_reads_label_ids(tmp_path):
    found = cityscapes(
        cityscapes_folder(tmp_path, "val", NAMES), label_space=SYNTHIA13, split="val"
    )
    assert found.read_label(found.samples[0])[0].tolist() == [255, 1, 2, 12]
    assert keys(found) == [f"{name.split('_')[0]}/{name}" for name in NAMES]
    assert found.label_space.names[1] == "sidewalk"
    assert (found.name, len(found)) == ("Cityscapes", 2)


# Which files.


def test_stray_files_do_not_count(tmp_path):
    gta5_folder(tmp_path / "g", [2, 1])
    for name in ("._00003.png", "Thumbs.db", "00004.png.part", "00005_color.png"):
        (tmp_path / "g" / "images" / name).touch()
        (tmp_path / "g" / "labels" / name).touch()
    assert keys(gta5(tmp_path / "g", label_space=CITYSCAPES19)) == ["00001", "00002"]

    cityscapes_folder(tmp_path / "c", "train", NAMES)
    (tmp_path / "c/leftImg8bit/train/ulm/._ulm_000001_000019_leftImg8bit.png").touch()
    for ending in ("labelTrainIds", "color", "instanceIds"):
        (tmp_path / f"c/gtFine/train/ulm/ulm_000001_000019_gtFine_{ending}.png").touch()
    assert len(cityscapes(tmp_path / "c", label_space=CITYSCAPES19, split="train")) == 2


def test_without_labels_no_label_folder_is_needed(tmp_path):
    write_image(tmp_path / "g/images/00001.png")
    write_image(tmp_path / "s/RGB/0000000.png")
    write_image(tmp_path / "c/leftImg8bit/test/bonn/bonn_000000_000019_leftImg8bit.png")
    for found in (
        gta5(tmp_path / "g", label_space=CITYSCAPES19, labelled=False),
        synthia(tmp_path / "s", label_space=CITYSCAPES19, labelled=False),
        cityscapes(tmp_path / "c", label_space=CITYSCAPES19, split="test", labelled=False),
    ):
        assert [sample.label for sample in found.samples] == [None]
        with pytest.raises(ValueError, match="without labels"):
            found.read_label(found.samples[0])


def test_without_labels_present_labels_are_not_looked_at(tmp_path):
    gta5_folder(tmp_path, [1, 2])
    (tmp_path / "labels" / "00001.png").write_bytes(b"nonsense")
    (tmp_path / "labels" / "00002.png").unlink()
    assert len(gta5(tmp_path, label_space=CITYSCAPES19, labelled=False)) == 2


def test_official_gta5_split_has_the_published_sizes():
    split = official_split()
    assert [split.count(name) for name in ("train", "val", "test")] == [12403, 6382, 6181]
    # The first runs of the code: ten train, five test, six train, three val.
    assert split[:24] == ["train"] * 10 + ["test"] * 5 + ["train"] * 6 + ["val"] * 3


def test_splits_select_by_number(tmp_path):
    gta5_folder(tmp_path / "g", [10, 11, 22])
    assert keys(gta5(tmp_path / "g", label_space=CITYSCAPES19, split="train")) == ["00010"]
    assert keys(gta5(tmp_path / "g", label_space=CITYSCAPES19, split="test")) == ["00011"]
    assert keys(gta5(tmp_path / "g", label_space=CITYSCAPES19, split="val")) == ["00022"]
    synthia_folder(tmp_path / "s", [8999, 9000])
    assert keys(synthia(tmp_path / "s", label_space=SYNTHIA16, split="train")) == ["0008999"]
    assert keys(synthia(tmp_path / "s", label_space=SYNTHIA16, split="val")) == ["0009000"]
    assert len(synthia(tmp_path / "s", label_space=SYNTHIA16)) == 2


def test_all_of_gta5_takes_unofficial_numbers_and_leaves_the_bad_ones(tmp_path):
    gta5_folder(tmp_path, [0, 15188, 17705, 30000])
    assert keys(gta5(tmp_path, label_space=CITYSCAPES19)) == ["00000", "30000"]


def test_list_files_of_both_styles(tmp_path):
    gta5_folder(tmp_path / "g", [1, 2, 15188])
    cityscapes_folder(tmp_path / "c", "train", NAMES)
    file = tmp_path / "list.txt"
    for text in ("2\n15188\n", "00002.png\n\n", "images/00002.png"):
        file.write_text(text)
        assert keys(gta5(tmp_path / "g", label_space=CITYSCAPES19, list_file=file)) == ["00002"]
    for text in (f"ulm/{NAMES[1]}_leftImg8bit.png\n", f"train_{NAMES[1]}\n"):
        file.write_text(text)
        found = cityscapes(tmp_path / "c", label_space=CITYSCAPES19, split="train", list_file=file)
        assert keys(found) == [f"ulm/{NAMES[1]}"]


# What is wrong.


@pytest.mark.parametrize(
    ("make", "tree", "download"),
    [
        (lambda root: gta5(root, label_space=CITYSCAPES19), "images/00001.png", "01_images.zip"),
        (
            lambda root: synthia(root, label_space=SYNTHIA16),
            "GT/LABELS/0000000.png",
            "RAND-CITYSCAPES",
        ),
        (
            lambda root: cityscapes(root, label_space=CITYSCAPES19, split="train"),
            "gtFine/{train,val}/<city>",
            "gtFine_trainvaltest.zip",
        ),
    ],
)
def test_missing_data_tells_key_tree_and_download(tmp_path, make, tree, download):
    with pytest.raises(FileNotFoundError) as error:
        make(tmp_path / "nowhere")
    for part in ("dataset.source.root", "dataset.target.root", "nowhere", tree, download):
        assert part in str(error.value)


def test_all_missing_partners_are_told_at_once(tmp_path):
    gta5_folder(tmp_path, list(range(1, 11)))
    for number in range(1, 8):
        (tmp_path / "labels" / f"{number:05d}.png").unlink()
    (tmp_path / "images" / "00009.png").unlink()
    with pytest.raises(FileNotFoundError) as error:
        gta5(tmp_path, label_space=CITYSCAPES19)
    text = str(error.value)
    assert "7 images without a label" in text
    assert "00005.png, ..." in text
    assert "1 labels without an image" in text


def test_list_file_may_leave_labels_alone_but_not_name_missing_images(tmp_path):
    gta5_folder(tmp_path, [1, 2])
    (tmp_path / "images" / "00002.png").unlink()
    file = tmp_path / "list.txt"
    file.write_text("1\n")
    assert len(gta5(tmp_path, label_space=CITYSCAPES19, list_file=file)) == 1
    file.write_text("1\n2\n")
    with pytest.raises(FileNotFoundError, match="1 listed and not on disk: 2"):
        gta5(tmp_path, label_space=CITYSCAPES19, list_file=file)
    file.write_text("one\n")
    with pytest.raises(ValueError, match=r"'one' names no image .* such as 00001\.png"):
        gta5(tmp_path, label_space=CITYSCAPES19, list_file=file)
    with pytest.raises(FileNotFoundError, match=r"list_file: no file .*absent"):
        gta5(tmp_path, label_space=CITYSCAPES19, list_file=tmp_path / "absent")


def test_impossible_splits(tmp_path):
    gta5_folder(tmp_path, [1])
    with pytest.raises(FileNotFoundError, match=r"GTA5 val at .* has no image"):
        gta5(tmp_path, label_space=CITYSCAPES19, split="val")
    with pytest.raises(ValueError, match="all, train, val, test, not 'valid'"):
        gta5(tmp_path, label_space=CITYSCAPES19, split="valid")
    with pytest.raises(ValueError, match="not public"):
        cityscapes(tmp_path, label_space=CITYSCAPES19, split="test")


def test_val_without_labels_is_an_error(tmp_path):
    cityscapes_folder(tmp_path, "val", NAMES)
    (tmp_path / f"gtFine/val/ulm/{NAMES[1]}_gtFine_labelIds.png").unlink()
    with pytest.raises(FileNotFoundError, match="1 images without a label"):
        cityscapes(tmp_path, label_space=CITYSCAPES19, split="val")


# Damaged files.


def test_colours_where_numbers_belong(tmp_path):
    write_image(tmp_path / "colour.png")
    with pytest.raises(UnreadableFile, match=r"colour.png holds RGB colours.*palette or grey PNG"):
        read_index_label(tmp_path / "colour.png")


def test_eight_bit_synthia_label(tmp_path):
    synthia_folder(tmp_path, [0])
    write_grey_label(tmp_path / "GT/LABELS/0000000.png", np.zeros(SIZE, np.uint8))
    found = synthia(tmp_path, label_space=SYNTHIA16)
    with pytest.raises(UnreadableFile, match="16-bit RGB PNG"):
        found.read_label(found.samples[0])


# Other names.


def test_images_of_other_endings(tmp_path):
    gta5_folder(tmp_path / "g", [1, 2, 3])
    for number, ending in ((1, "jpg"), (2, "JPEG"), (3, "PNG")):
        place = tmp_path / "g/images" / f"{number:05d}.png"
        place.unlink()
        write_image(place.with_suffix(f".{ending}"), number)
    assert keys(gta5(tmp_path / "g", label_space=CITYSCAPES19)) == ["00001", "00002", "00003"]
    write_image(tmp_path / "g/images/00002.png")
    with pytest.raises(ValueError, match=r"two files for 00002: .*; remove one"):
        gta5(tmp_path / "g", label_space=CITYSCAPES19)
    cityscapes_folder(tmp_path / "c", "val", NAMES)
    old = tmp_path / f"c/leftImg8bit/val/ulm/{NAMES[1]}_leftImg8bit.png"
    old.unlink()
    write_image(old.with_suffix(".JPG"))
    assert len(cityscapes(tmp_path / "c", label_space=CITYSCAPES19, split="val")) == 2


# One file each.


READER = '''
from pathlib import Path
from uda_hydra.data.label_space import LabelSpace
from uda_hydra.data.readers.image_set import ImageSet, Layout, Sample

LAYOUT = Layout("Toy", {"sky": (0,), "bicyclist": (3, 4)}, known_ids=range(5))

def made(root: Path, *, label_space: LabelSpace, labelled: bool, crop: list[int] | None = None
) -> ImageSet:
    """Toy at ``root``."""
    return ImageSet(LAYOUT, root, [Sample("a", root / "a.jpg", None)], label_space)
'''


def test_a_reader_is_one_file(tmp_path, monkeypatch):
    """Found by its name, its own keys checked against its signature."""
    (tmp_path / "made.py").write_text(READER)
    monkeypatch.setattr(readers, "__path__", [*readers.__path__, str(tmp_path)])
    reader = readers.find_reader("made", "dataset.source.layout")
    options = readers.check_options(reader, {"root": "data", "crop": [0, 0, 9, 9]}, "key")
    found = reader(label_space=CAMVID11, labelled=False, **options)
    assert (found.root, found.shown) == (Path("data"), (0, 10))
    with pytest.raises(ValueError, match=r"key\.split is not a key .* reads root, crop"):
        readers.check_options(reader, {"root": "data", "split": "train"}, "key")
    with pytest.raises(ValueError, match=r"key\.root is missing"):
        readers.check_options(reader, {}, "key")
    for helper in ("toy", "city_split", "decode", None, ["gta5"]):
        with pytest.raises(ValueError, match=r"dataset\.source\.layout=.* is not a known layout"):
            readers.find_reader(helper, "dataset.source.layout")
