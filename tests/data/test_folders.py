"""Anybody's own data: labels of every kind, names of every kind, and what does not fit."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from layouts import SIZE, write_grey_label, write_image, write_palette_label
from PIL import Image

from tests.conftest import composed
from uda_hydra import build, tasks
from uda_hydra.data.check import check
from uda_hydra.data.labels import CITYSCAPES19, label_space
from uda_hydra.data.readers import ImageSet, UnreadableFile
from uda_hydra.data.readers.folders import folders
from uda_hydra.engine.events import Run
from uda_hydra.errors import UserError
from uda_hydra.runs.checks import check_labels, check_training


def class_file(folder: Path, count: int, values: dict[str, list[list[object]]]) -> str:
    """Classes "class 0", "class 1" ... with their values by domain."""
    lines = ["classes:"]
    for number in range(count):
        listed = "".join(f", {domain}: {values[domain][number]}" for domain in values)
        colour = [number % 256, 7 * number % 256, 9]
        lines.append(f"  - {{name: class {number}, colour: {colour}{listed}}}")
    path = folder / "classes.yaml"
    path.write_text("\n".join(lines))
    return str(path)


def opened(root: Path, space, *, labelled: bool = True, **more) -> ImageSet:
    return folders(
        label_space=space,
        labelled=labelled,
        images=root / "images",
        labels=root / "labels",
        **more,
    )


def label_of(root: Path, space, **more) -> np.ndarray:
    found = opened(root, space, **more)
    return found.read_label(found.samples[0])


@pytest.fixture
def one(tmp_path):
    """A set of one image, whose label is written by the test."""
    write_image(tmp_path / "images" / "a.png")
    (tmp_path / "labels").mkdir()
    return tmp_path


def ramp(count: int) -> np.ndarray:
    """Class numbers of 20x16 pixels, every one of ``count`` there."""
    return (np.arange(320) % count).reshape(16, 20)


@pytest.mark.parametrize("count", [2, 60, 255])
@pytest.mark.parametrize("kind", ["grey", "palette", "16 bit", "colour"])
def test_labels_are_exact(one, count, kind):
    """Raw ids step by 200 at 16 bit, colours use all three channels."""
    expected = ramp(count)
    step = 200 if kind == "16 bit" else 1
    ids = [[step * number] for number in range(count)]
    colours = [(number, 255 - number, 37 * number % 256) for number in range(count)]
    hexes = [["#{:02X}{:02x}{:02x}".format(*colour)] for colour in colours]
    path = one / "labels" / "a.png"
    if kind == "grey":
        write_grey_label(path, expected.astype(np.uint8))
    elif kind == "palette":
        write_palette_label(path, expected.astype(np.uint8))
    elif kind == "16 bit":
        assert cv2.imwrite(str(path), (step * expected).astype(np.uint16))
    else:
        Image.fromarray(np.array(colours, np.uint8)[expected]).save(path)
    space = label_space(class_file(one, count, {"source": hexes if kind == "colour" else ids}))
    found = label_of(one, space)
    assert found.dtype == np.uint8
    assert np.array_equal(found, expected)


def png_of_few_bits(ids: np.ndarray, bits: int) -> bytes:
    """A grey PNG, written by hand since the usual libraries write 8 bits."""
    planes = np.unpackbits(ids[..., None], axis=-1)[..., -bits:].reshape(len(ids), -1)
    rows = np.pad(np.packbits(planes, axis=1), ((0, 0), (1, 0)))
    head = struct.pack(">IIBBBBB", ids.shape[1], ids.shape[0], bits, 0, 0, 0, 0)
    file = b"\x89PNG\r\n\x1a\n"
    for kind, content in (
        (b"IHDR", head),
        (b"IDAT", zlib.compress(rows.tobytes())),
        (b"IEND", b""),
    ):
        check_sum = struct.pack(">I", zlib.crc32(kind + content))
        file += struct.pack(">I", len(content)) + kind + content + check_sum
    return file


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_ids_of_few_bits(one, bits):
    """Grey levels of few bits are not stretched to 0..255."""
    ids = ramp(2**bits).astype(np.uint8)
    (one / "labels/a.png").write_bytes(png_of_few_bits(ids, bits))
    values = [[number] for number in range(2**bits)]
    space = label_space(class_file(one, 2**bits, {"source": values}))
    assert np.array_equal(label_of(one, space), ids)


def test_several_ids_make_one_class_and_others_are_ignored(one):
    write_grey_label(one / "labels/a.png", np.array([[1, 2, 3, 4]], np.uint8))
    space = label_space(class_file(one, 2, {"source": [[1, 3], [2]], "target": [[], [4]]}))
    assert label_of(one, space).tolist() == [[0, 1, 0, 255]]
    found = opened(one, space, values="target")
    assert found.read_label(found.samples[0]).tolist() == [[255, 255, 255, 1]]
    assert found.shown == (1,)


def test_without_values_labels_hold_class_numbers(one):
    write_grey_label(one / "labels/a.png", np.array([[0, 18, 19, 255]], np.uint8))
    assert label_of(one, CITYSCAPES19).tolist() == [[0, 18, 255, 255]]


def test_a_palette_may_be_read_by_its_colours(one):
    label = Image.fromarray(np.array([[0, 1]], np.uint8))
    label.putpalette([128, 64, 128, 0, 0, 142])
    label.save(one / "labels/a.png")
    space = label_space(class_file(one, 2, {"source": [["#00008e"], ["#804080"]]}))
    assert label_of(one, space).tolist() == [[1, 0]]


def test_a_map_of_colours_for_an_index_png_and_the_other_way_round(one):
    write_grey_label(one / "labels/a.png", np.zeros(SIZE, np.uint8))
    colours = label_space(class_file(one, 2, {"source": [["#000000"], ["#000001"]]}))
    with pytest.raises(UnreadableFile, match=r"a\.png holds 8-bit grey levels .* list raw ids"):
        label_of(one, colours)
    write_image(one / "labels/a.png")
    ids = label_space(class_file(one, 2, {"source": [[0], [1]]}))
    with pytest.raises(UnreadableFile, match=r"a\.png holds RGB colours .* list colours"):
        label_of(one, ids)
    assert cv2.imwrite(str(one / "labels/a.png"), np.zeros((*SIZE, 3), np.uint16))
    with pytest.raises(UnreadableFile, match=r"a\.png holds 16-bit colours"):
        label_of(one, colours)


@pytest.fixture
def nested(tmp_path):
    """Files as they come: nested, of several endings, some hidden, some beside the point."""
    for name in ("one.PNG", "x/two.jpg", "x/y/three.JPEG", "x/.hidden.png", ".saved/one.png"):
        write_image(tmp_path / "images" / name)
    for name in ("one.png", "x/two.PNG", "x/y/three.png"):
        write_grey_label(tmp_path / "labels" / name, np.zeros(SIZE, np.uint8))
    (tmp_path / "images/notes.txt").touch()
    return tmp_path


def test_common_endings_and_nested_folders(nested):
    found = opened(nested, CITYSCAPES19)
    assert [sample.key for sample in found.samples] == ["one", "x/two", "x/y/three"]
    assert all(found.read_label(sample).shape == SIZE for sample in found.samples)
    assert [s.label for s in opened(nested, CITYSCAPES19, labelled=False).samples] == [None] * 3
    list_file = nested / "list.txt"
    list_file.write_text("x/two.jpg\nx/y/three\n")
    some = opened(nested, CITYSCAPES19, list_file=list_file)
    assert [sample.key for sample in some.samples] == ["x/two", "x/y/three"]


def test_names_that_differ_by_a_rule(tmp_path):
    """Images and labels may even share a folder."""
    for name in ("ulm/a", "ulm/b"):
        write_image(tmp_path / f"all/{name}_leftImg8bit.png")
        write_grey_label(tmp_path / f"all/{name}_gtFine.png", np.zeros(SIZE, np.uint8))
    rule = {"image_name": "{}_leftImg8bit.png", "label_name": "{}_gtFine"}
    places = {"images": tmp_path / "all", "labels": tmp_path / "all"}
    found = folders(label_space=CITYSCAPES19, labelled=True, **places, **rule)
    assert [sample.key for sample in found.samples] == ["ulm/a", "ulm/b"]
    list_file = tmp_path / "list.txt"
    list_file.write_text("ulm/b_leftImg8bit\n")
    rule["list_file"] = list_file
    (listed,) = folders(label_space=CITYSCAPES19, labelled=True, **places, **rule).samples
    assert listed.key == "ulm/b"
    with pytest.raises(ValueError, match=r"label_name must be .* with one \{\}"):
        folders(label_space=CITYSCAPES19, labelled=True, **places, label_name="gt")


def one_line(error) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_linked_folders_count_and_loops_end(nested):
    (nested / "images/x").rename(nested / "elsewhere")
    (nested / "images/x").symlink_to(nested / "elsewhere")
    (nested / "elsewhere/back").symlink_to(nested / "images")
    (nested / "elsewhere/itself").symlink_to("itself")
    found = opened(nested, CITYSCAPES19)
    assert [sample.key for sample in found.samples] == ["one", "x/two", "x/y/three"]


def test_two_files_of_one_name_are_refused(nested):
    write_image(nested / "images/x/two.png")
    with pytest.raises(ValueError, match=r"two files for x/two: .*two.jpg and .*two.png"):
        opened(nested, CITYSCAPES19)


def test_unpaired_names_are_told(nested):
    (nested / "labels/one.png").rename(nested / "labels/eins.png")
    with pytest.raises(FileNotFoundError) as error:
        opened(nested, CITYSCAPES19)
    text = one_line(error)
    assert "1 images without a label: " in text and "one.PNG" in text
    assert "1 labels without an image: " in text and "eins.png" in text
    assert "Looked for: {} (.png, .jpg, .jpeg, .webp, .bmp, .tif or .tiff)" in text


def test_folders_that_are_not_there(nested):
    with pytest.raises(FileNotFoundError, match=r"nowhere is not a folder; set images"):
        folders(label_space=CITYSCAPES19, labelled=False, images=nested / "nowhere")
    with pytest.raises(ValueError, match="needs labels"):
        folders(label_space=CITYSCAPES19, labelled=True, images=nested / "images")


def test_ids_without_a_class_and_other_sizes_are_reported(nested):
    write_grey_label(nested / "labels/one.png", np.full(SIZE, 40, np.uint8))
    found = opened(nested, label_space(class_file(nested, 2, {"source": [[0], [1]]})))
    report = check(found, workers=0)
    assert report.ok
    assert "40: 24 pixels (33.333 %), ignored, in 1: one" in report.text()
    assert report.never_shown == ["class 1"]
    write_grey_label(nested / "labels/one.png", np.full((3, 3), 1, np.uint8))
    report = check(found, workers=0)
    assert not report.ok
    assert "other size      1: one" in report.text()


def test_colours_without_a_class_are_reported_as_colours(one):
    write_image(one / "labels/a.png")
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[0, 0] = 1, 2, 255
    Image.fromarray(pixels).save(one / "labels/a.png")
    space = label_space(class_file(one, 2, {"source": [["#000000"], ["#000001"]]}))
    report = check(opened(one, space), workers=0)
    assert report.ok
    assert "#0102ff: 1 pixels" in report.text()


# The whole way.


def data_set(root: Path, count: int, *, size: tuple[int, int] = (48, 96)) -> None:
    """``count`` images of a bright lower half, which is id 5, below a dark one, which is id 9."""
    for number in range(count):
        noise = np.random.default_rng(number).integers(0, 60, (*size, 3), dtype=np.uint8)
        noise[size[0] // 2 :] += 150
        (root / "images/drive").mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).save(root / f"images/drive/{number}.jpg")
        ids = np.full(size, 9, np.uint8)
        ids[size[0] // 2 :] = 5
        write_grey_label(root / f"labels/drive/{number}.png", ids)


@pytest.fixture(scope="session")
def own(tmp_path_factory):
    """Overrides of a small data set of one's own, whose target labels have colours."""
    root = tmp_path_factory.mktemp("own")
    for part, count in (("A", 4), ("B", 4), ("C", 2)):
        data_set(root / part, count)
    for label in (root / "C/labels").rglob("*.png"):
        ids = np.array(Image.open(label))
        Image.fromarray(
            np.where(ids[..., None] == 5, (0, 128, 0), (0, 0, 9)).astype(np.uint8)
        ).save(label)
    values = {"source": [[5], [9]], "target": [["#008000"], ["#000009"]]}
    return [
        "dataset=folders",
        f"dataset.classes={class_file(root, 2, values)}",
        f"dataset.source.images={root}/A/images",
        f"dataset.source.labels={root}/A/labels",
        f"dataset.target.images={root}/B/images",
        f"dataset.target.validation.images={root}/C/images",
        f"dataset.target.validation.labels={root}/C/labels",
        "dataset.source.size=[96,48]",
        "dataset.target.size=[64,32]",
        "dataset.cache_folder=" + str(root / "cache"),
        "model=deeplabv2_tiny",
        "trainer=streets",
        "trainer.device=cpu",
        "tracking=none",
        "callbacks=none",
    ]


def test_a_whole_training(own, tmp_path):
    config = composed(*own, "method=source_only", "trainer.steps=2", "objective=iou/class 1")
    check_training(config)
    pair = build.pair(config)
    assert len(pair.label_space) == 2
    trainer = build.trainer(config, pair, tmp_path, [])
    trainer.fit(Run("own", tmp_path, 2, 0, {}))
    assert trainer.last.confusion.sum() == 2 * 48 * 96
    assert trainer.last.confusion.sum(axis=1).tolist() == [2 * 24 * 96] * 2


def test_labels_of_another_size_are_refused_before_a_training(own, tmp_path):
    data_set(tmp_path, 2)
    for label in (tmp_path / "labels").rglob("*.png"):
        write_grey_label(label, np.full((24, 48), 5, np.uint8))
    folders = [f"dataset.source.{name}={tmp_path / name}" for name in ("images", "labels")]
    check_labels(build.pair(composed(*own)))
    with pytest.raises(UserError, match=r"0\.png has 48x24 pixels and its image 96x48"):
        check_labels(build.pair(composed(*own, *folders)))


def test_the_data_are_checked_by_the_task(own, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tasks.run(composed(*own, "task=check_data"), [])
    out = capsys.readouterr().out
    assert "raw ids         5, 9" in out
    assert "raw ids         #000009, #008000" in out
    assert "\r" not in out


def test_keys_that_are_missing_are_named(own):
    with pytest.raises(UserError, match=r"^dataset\.source: .*/no is not a folder; set images"):
        build.pair(composed(*own, "dataset.source.images=no"))
    for key in ("source.images", "target.validation.images"):
        overrides = [line for line in own if not line.startswith(f"dataset.{key}=")]
        with pytest.raises(UserError, match=rf"dataset\.{key} must be a path, got null"):
            build.pair(composed(*overrides))
    with pytest.raises(UserError, match=r"needs labels"):
        build.pair(composed(*own, "dataset.oracle=true"))


def test_label_maps_are_no_images(own):
    """Neither those that are scored nor those of the target that adaptation does not read."""
    town = next(line for line in own if "target.images" in line).removesuffix("/images")
    labels = town.replace("images=", "labels=")
    scored = town[:-1] + "C"
    with pytest.raises(UserError, match=r"dataset\.target takes 2 label files .*C/labels/drive"):
        build.pair(composed(*own, scored))
    with pytest.raises(UserError, match=r"dataset\.target: labels=.*B/labels lies in images=.*B,"):
        build.pair(composed(*own, town, f"{labels}/labels"))
    build.pair(composed(*own, town, f"{labels}/labels", "dataset.target.image_name='{}.jpg'"))


def test_colours_that_were_smoothed_are_no_label(one):
    noise = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(one / "labels/a.png")
    space = label_space(class_file(one, 2, {"source": [["#000000"], ["#000001"]]}))
    report = check(opened(one, space), workers=0)
    assert not report.ok
    assert "values: was it smoothed or compressed?" in report.text()
