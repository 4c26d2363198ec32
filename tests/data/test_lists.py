"""List files: texts of every system, and what cannot be one."""

from __future__ import annotations

from pathlib import Path

import pytest
from layouts import cityscapes_folder, gta5_folder, write_image

from tests.damage import make_irregular
from uda_hydra import inputs
from uda_hydra.data.labels import CITYSCAPES19
from uda_hydra.data.readers.cityscapes import cityscapes
from uda_hydra.data.readers.folders import folders
from uda_hydra.data.readers.gta5 import gta5
from uda_hydra.data.readers.listing import read_list


@pytest.fixture
def read(tmp_path):
    """Keys of the samples of GTA5's images 1 to 3 that a list file of this content chooses."""
    gta5_folder(tmp_path / "g", [1, 2, 3])

    def keys(content: bytes) -> list[str]:
        file = tmp_path / "list.txt"
        file.write_bytes(content)
        found = gta5(tmp_path / "g", label_space=CITYSCAPES19, list_file=file)
        return [sample.key for sample in found.samples]

    return keys


@pytest.mark.parametrize(
    "content",
    [
        b"1\n3\n",
        b"1\r\n3\r\n",
        b"1\r3",
        b"\n\n 00001.png \n\t3\t\n\n",
        b"\xef\xbb\xbf1\n3\n",
        b"# two of three\n1\n#2\n3",
        b"images/00001.png\n./3.PNG",
        b"/elsewhere/GTA5/images/00001.jpg\n../00003.png\n",
    ],
)
def test_texts_of_every_system(read, content):
    assert read(content) == ["00001", "00003"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("1\n3\n".encode("utf-16"), "is not a text in UTF-8"),
        ("1\n3\n".encode("utf-16-le"), "it holds zero bytes"),
        ("1\nstraße\n".encode("latin-1"), r"is not a text in UTF-8 \(line 2\)"),
        (b"", "is empty"),
        (b"1\n3\n00001.png\n", "line 3 names 00001 again; each image may be listed once"),
        (b"1\n\ntwo\n", r"line 3: 'two' names no image of GTA5 all at .* such as 00001\.png"),
        (b"1\n\xd9\xa3\n", "names no image"),
        (b"9" * 5000, "names no image"),
    ],
)
def test_what_cannot_be_one_is_refused(read, content, reason):
    with pytest.raises(ValueError, match=rf"^list_file: .*list\.txt.*{reason}"):
        read(content)


@pytest.mark.parametrize("content", [b"\n", b"# nothing\n"])
def test_a_list_of_nothing(read, content):
    with pytest.raises(FileNotFoundError, match=r"has no image .*Another split or list_file"):
        read(content)


def test_all_that_is_not_on_disk_is_told(read):
    with pytest.raises(FileNotFoundError, match=r"2 listed and not on disk: 4, 5\. Looked for"):
        read(b"1\n4\n5\n")


@pytest.mark.parametrize("what", ["pipe", "device", "folder", "large", "absent"])
def test_only_regular_files_of_bounded_size_are_read(tmp_path, what, monkeypatch):
    monkeypatch.setattr(inputs, "LARGEST_TEXT", 1000)
    file = tmp_path / "list\33.txt"
    make_irregular(file, what)
    if what == "large":
        file.write_text("1\n" * 501)
    reason = {"absent": "no file", "large": "0.0 MB is the limit"}.get(what, "not a regular file")
    with pytest.raises((ValueError, FileNotFoundError), match=rf"^list_file: .*{reason}") as error:
        read_list(file, str)
    assert "\33" not in str(error.value)


def test_only_ends_of_lines_end_a_line(tmp_path):
    """Names may hold what str.splitlines() takes for an end."""
    file = tmp_path / "list.txt"
    file.write_text("a\x0bb\nc\u2028d\n", encoding="utf-8")
    assert [*read_list(file, str)] == ["a\x0bb", "c\u2028d"]


def test_paths_of_a_folder_of_images(tmp_path):
    for name in ("x/a.png", "x/b.jpg", "c.tif"):
        write_image(tmp_path / "images" / name)
    file = tmp_path / "list.txt"
    given = {"label_space": CITYSCAPES19, "labelled": False, "list_file": file}
    for text in ("x/a.png\nc.tif", "x/../x/a\n./c", f"{tmp_path}/images/x/a.png\nc.tif"):
        file.write_text(text)
        found = folders(images=tmp_path / "images", **given)
        assert [sample.key for sample in found.samples] == ["c", "x/a"]
    file.write_text("../images/x/a.png\n/etc/passwd")
    with pytest.raises(FileNotFoundError, match="2 listed and not on disk"):
        folders(
            label_space=CITYSCAPES19, labelled=False, images=tmp_path / "images", list_file=file
        )


# What is looked for.


def relabelled(root: Path) -> Path:
    cityscapes_folder(root, "val", ["ulm_000001_000019"])
    for path in (root / "gtFine").rglob("*_labelIds.png"):
        path.rename(path.with_name(path.name.replace("labelIds", "labelTrainIds")))
    return root


def test_names_that_differ_are_shown_beside_those_that_are_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        cityscapes(relabelled(tmp_path), label_space=CITYSCAPES19, split="val")
    text = str(error.value)
    assert "gtFine/val holds files such as ulm_000001_000019_gtFine_labelTrainIds.png" in text
    assert "labels <city>/*_gtFine_labelIds.png" in text
    assert "list_file" not in text
    write_image(tmp_path / "g/images/frame_1.png")
    with pytest.raises(FileNotFoundError, match=r"images holds files such as frame_1\.png\)"):
        gta5(tmp_path / "g", label_space=CITYSCAPES19, labelled=False)


@pytest.mark.parametrize("ending", ["png", "PNG", "jpg", "JPG", "jpeg", "webp", "bmp", "tiff"])
def test_common_endings_are_read(tmp_path, ending):
    write_image(tmp_path / f"g/images/00001.{ending}")
    assert len(gta5(tmp_path / "g", label_space=CITYSCAPES19, labelled=False)) == 1
    name = f"c/leftImg8bit/test/bonn/bonn_000000_000019_leftImg8bit.{ending}"
    write_image(tmp_path / name)
    found = cityscapes(tmp_path / "c", label_space=CITYSCAPES19, split="test", labelled=False)
    assert found.read_image(found.samples[0]).ndim == 3
