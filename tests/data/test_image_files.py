"""Pictures of every kind, whole or refused in one line: cut, altered, hostile, of other kinds."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from layouts import write_grey_label
from PIL import Image

from tests.damage import make_irregular
from uda_hydra.data import pictures
from uda_hydra.data.pictures import UnreadableFile, read_rgb
from uda_hydra.data.readers.decode import (
    read_colour_label,
    read_index_label,
    read_synthia_label,
)

READERS = (read_rgb, read_index_label, read_colour_label, read_synthia_label)
RANDOM = np.random.default_rng(0)
NOISE = RANDOM.integers(0, 256, (40, 60, 3), np.uint8)
SMOOTH = cv2.GaussianBlur(NOISE, (5, 5), 2)
UPSIDE_DOWN = SMOOTH[::-1].copy()


def encoded(picture: np.ndarray | Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(stream, kind, **options)
    return stream.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    head, check_sum = struct.pack(">I", len(content)), zlib.crc32(name + content)
    return head + name + content + struct.pack(">I", check_sum)


def png(width: int, height: int, rows: int, *, claimed: bytes = b"") -> bytes:
    """An RGB PNG whose header claims a size and whose data holds ``rows``."""
    header = claimed or struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress((b"\0" + bytes([7]) * (3 * width)) * rows)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def refused(read: Callable[[Path], object], path: Path) -> str:
    """What is said: one line that names the file and a remedy."""
    with pytest.raises(UnreadableFile) as error:
        read(path)
    text = str(error.value)
    assert text.startswith(str(path)) and "Replace this file" in text and "\n" not in text
    return text


# Kinds that are read, by their content.


def levels(depth: int, *channels: int) -> np.ndarray:
    return RANDOM.integers(0, 2**depth, (6, 9, *channels), np.uint16 if depth > 8 else np.uint8)


def with_cv2(ending: str, pixels: np.ndarray) -> bytes:
    return cv2.imencode(ending, pixels)[1].tobytes()


GREY, COLOURS = levels(8), levels(8, 3)
DEEP_GREY, DEEP_COLOURS = levels(16), levels(16, 3)
PALETTE = Image.fromarray(GREY).convert("P")
PALETTE.putpalette(levels(8, 768)[0, 0].tobytes())
LOSSLESS = {"PNG": {}, "BMP": {}, "TIFF": {"compression": "tiff_lzw"}, "WEBP": {"lossless": True}}


@pytest.mark.parametrize("kind", LOSSLESS)
@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (Image.fromarray(COLOURS), COLOURS),
        (Image.fromarray(np.dstack([COLOURS, GREY])), COLOURS),
        (Image.fromarray(GREY), np.dstack([GREY] * 3)),
        (PALETTE, np.array(PALETTE.convert("RGB"))),
        (Image.fromarray(GREY > 99), np.dstack([(GREY > 99).astype(np.uint8) * 255] * 3)),
    ],
    ids=["colours", "transparent", "grey", "palette", "one bit"],
)
def test_every_kind_becomes_rgb(tmp_path, kind, picture, expected):
    path = tmp_path / "picture.jpg"
    options = LOSSLESS[kind]
    if kind == "WEBP" and picture.mode == "RGBA":
        options = {"lossless": True, "exact": True}
    path.write_bytes(encoded(picture, kind, **options))
    np.testing.assert_array_equal(read_rgb(path), expected)


@pytest.mark.parametrize("ending", [".png", ".tiff"])
def test_the_upper_of_16_bits_are_taken(tmp_path, ending):
    path = tmp_path / "deep"
    path.write_bytes(with_cv2(ending, DEEP_GREY))
    np.testing.assert_array_equal(read_rgb(path), np.dstack([DEEP_GREY >> 8] * 3))
    path.write_bytes(with_cv2(ending, DEEP_COLOURS))
    np.testing.assert_array_equal(read_rgb(path), DEEP_COLOURS[..., ::-1] >> 8)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (1, lambda p: p),
        (2, np.fliplr),
        (3, lambda p: np.rot90(p, 2)),
        (4, np.flipud),
        (5, lambda p: p.swapaxes(0, 1)),
        (6, lambda p: np.rot90(p, -1)),
        (7, lambda p: np.rot90(p, 2).swapaxes(0, 1)),
        (8, np.rot90),
        (9, lambda p: p),
    ],
)
def test_a_picture_is_shown_upright(tmp_path, kind, orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "camera"
    options = {"lossless": True} if kind == "WEBP" else {}
    path.write_bytes(encoded(SMOOTH, kind, **options))
    plain = read_rgb(path)
    path.write_bytes(encoded(SMOOTH, kind, exif=exif, **options))
    np.testing.assert_array_equal(read_rgb(path), turn(plain))


def test_exif_data_that_mean_nothing_turn_nothing(tmp_path):
    path = tmp_path / "camera.jpg"
    path.write_bytes(encoded(SMOOTH, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"))
    assert read_rgb(path).shape == SMOOTH.shape


def test_the_first_picture_of_a_camera_is_taken(tmp_path):
    """With a thumbnail before it, and a second eye and a film after it."""
    path = tmp_path / "camera.jpg"
    path.write_bytes(encoded(SMOOTH, "JPEG"))
    plain = read_rgb(path)
    path.write_bytes(
        encoded(SMOOTH, "MPO", save_all=True, append_images=[Image.fromarray(UPSIDE_DOWN)])
    )
    np.testing.assert_array_equal(read_rgb(path), plain)
    small, data = encoded(SMOOTH[:8, :8], "JPEG"), encoded(SMOOTH, "JPEG")
    thumbnail = b"\xff\xe1" + (len(small) + 2).to_bytes(2, "big") + small
    camera = data[:2] + thumbnail + data[2:]
    path.write_bytes(camera + b"\0film\xff\xd9")
    np.testing.assert_array_equal(read_rgb(path), plain)
    path.write_bytes(camera[:-200])
    assert "cut short" in refused(read_rgb, path)


@pytest.mark.parametrize("way", ["regular", "link"])
def test_a_link_to_a_picture_is_a_picture(tmp_path, way):
    place = tmp_path / "a.png"
    place.write_bytes(encoded(COLOURS, "PNG"))
    if way == "link":
        place.rename(tmp_path / "elsewhere")
        place.symlink_to(tmp_path / "elsewhere")
    np.testing.assert_array_equal(read_rgb(place), COLOURS)


# Kinds that are not.


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"no picture", "is no PNG, JPEG, WebP, BMP or TIFF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is no PNG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is no PNG"),
        (encoded(COLOURS, "GIF"), "is no PNG"),
        (b"\xff\xd8\xff", "is cut short"),
        (b"\xff\xd8\xff\xe0\0\0\xff\xd9", "cannot be decoded"),
        (b"BM", "cannot be decoded"),
        (b"II*\0\xff\xff\xff\xff", "cannot be decoded"),
        (b"RIFF\4\0\0\0WEBP", "cannot be decoded"),
        (b"\x89PNG\r\n\x1a\n" + chunk(b"IEND", b""), "it has no header"),
        (png(4, 4, 4, claimed=b"\0"), "its header is damaged"),
        (encoded(Image.fromarray(COLOURS).convert("CMYK"), "JPEG"), "holds CMYK colours"),
        (encoded(Image.fromarray(COLOURS).convert("LAB"), "TIFF"), "holds LAB colours"),
        (encoded(GREY.astype(np.float32), "TIFF"), "holds F colours"),
        (encoded(GREY.astype(np.int32), "TIFF"), "holds I colours"),
    ],
)
def test_other_kinds_are_refused(tmp_path, data, reason):
    path = tmp_path / "00001.png"
    path.write_bytes(data)
    assert reason in refused(read_rgb, path)
    for read in READERS[1:]:
        refused(read, path)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_several_pictures_in_one_file_are_refused(tmp_path, kind):
    path = tmp_path / "film.png"
    more = {"save_all": True, "append_images": [Image.fromarray(UPSIDE_DOWN)]}
    path.write_bytes(encoded(SMOOTH, kind, **more))
    assert "holds several pictures: save the one to use" in refused(read_rgb, path)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("what", ["pipe", "socket", "device", "folder", "broken link", "absent"])
def test_only_regular_files_are_opened(tmp_path, read, what, monkeypatch):
    """Nobody writes into the pipe, so waiting for it would never end."""
    monkeypatch.chdir(tmp_path)
    path = Path("00001.png")
    make_irregular(path, what)
    reasons = {"pipe": "is not a regular", "device": "is not a regular", "folder": "not a regular"}
    assert reasons.get(what, "cannot be read (") in refused(read, path)


def test_a_name_cannot_command_a_terminal(tmp_path):
    (tmp_path / "\33[31mred\nlines.png").write_bytes(b"no picture")
    with pytest.raises(UnreadableFile, match=r"x1b\[31mred\\nlines\.png cannot be decoded"):
        read_rgb(tmp_path / "\33[31mred\nlines.png")


# Sizes.


def claiming(kind: str, width: int, height: int) -> bytes:
    """A small file whose header claims a size."""
    if kind == "PNG":
        return png(4, 4, 4, claimed=struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = bytearray(encoded(SMOOTH, kind, **({"lossless": True} if kind == "WEBP" else {})))
    if kind == "JPEG":
        place = data.index(b"\xff\xc0") + 5
        data[place : place + 4] = struct.pack(">HH", height, width)
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", width, height)
    elif kind == "TIFF":
        for tag, value in ((256, width), (257, height)):
            (found,) = re.finditer(struct.pack("<H", tag) + b"[\3\4]\0\1\0\0\0", data)
            place = found.start()
            data[place : place + 12] = struct.pack("<HHII", tag, 4, 1, value)
    return bytes(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF"])
def test_an_enormous_claim_is_refused_before_anything_is_decoded(tmp_path, kind):
    path = tmp_path / "bomb.png"
    path.write_bytes(claiming(kind, 60_000, 50_000))
    text = refused(read_rgb, path)
    assert "claims 60000x50000 pixels, and 80000000 is the limit: reduce its size" in text


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF"])
@pytest.mark.parametrize("size", [(60, 41), (600, 400), (0, 40), (60, 0)])
def test_a_claim_of_more_than_there_is_is_refused(tmp_path, kind, size):
    path = tmp_path / "claim.png"
    path.write_bytes(claiming(kind, *size))
    if (kind, size) == ("JPEG", (60, 41)):
        # The blocks of a JPEG are 8 or 16 rows high: 41 rows are three blocks as 40 are.
        path.write_bytes(claiming(kind, 60, 49))
    refused(read_rgb, path)


@pytest.mark.parametrize("rows", [0, 1, 19, 21, 40])
def test_a_png_of_fewer_or_more_rows_is_refused(tmp_path, rows):
    """Of images, which are checked by their decoder alone, those of fewer."""
    path = tmp_path / "rows.png"
    path.write_bytes(png(20, 20, rows))
    assert "claims 20x20 pixels, and holds fewer or more" in refused(read_colour_label, path)
    if rows < 20:
        refused(read_rgb, path)
    path.write_bytes(png(20, 20, 20))
    assert (read_rgb(path) == 7).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2), (8, 8), (13, 5)])
@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA"])
def test_an_interlaced_png_holds_as_many_pixels(tmp_path, size, mode):
    image = Image.fromarray(NOISE[: size[1], : size[0]]).convert(mode)
    path = tmp_path / "interlaced.png"
    path.write_bytes(interlaced(image))
    if mode != "L":
        read_colours = {"P": read_index_label, "1": read_index_label}.get(mode, read_colour_label)
        assert read_colours(path).shape == size[::-1]
    np.testing.assert_array_equal(read_rgb(path), np.array(image.convert("RGB")))


def interlaced(image: Image.Image) -> bytes:
    """Adam7, written by hand since the usual libraries do not write it; a slow loop over pixels."""
    bits = {"1": 1, "L": 8, "P": 8, "RGB": 24, "RGBA": 32}[image.mode]
    colours = {"1": 0, "L": 0, "P": 3, "RGB": 2, "RGBA": 6}[image.mode]
    grid = ["16462646", "77777777", "56565656", "77777777"]
    grid += ["36463646", "77777777", "56565656", "77777777"]
    rows = b""
    for number in "1234567":
        for y in range(image.height):
            row = [
                image.getpixel((x, y)) for x in range(image.width) if grid[y % 8][x % 8] == number
            ]
            if row and bits == 1:
                packed = np.packbits(np.array(row, bool)).tobytes()
                rows += b"\0" + packed
            elif row:
                flat = np.array(row, np.uint8).tobytes()
                rows += b"\0" + flat
    header = struct.pack(">IIBBBBB", *image.size, min(bits, 8), colours, 0, 0, 1)
    palette = chunk(b"PLTE", bytes(image.getpalette())) if image.mode == "P" else b""
    body = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + palette + body


def test_a_file_beyond_the_limit_is_not_read(tmp_path, monkeypatch):
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate(10**13)
    assert "has 10000000.0 MB, and 1000.0 MB is the limit" in refused(read_rgb, path)
    path.write_bytes(encoded(COLOURS, "PNG"))
    monkeypatch.setattr(pictures, "MOST_PIXELS", 53)
    assert "claims 9x6 pixels, and 53 is the limit" in refused(read_index_label, path)


# Damage.


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"restart_marker_rows": 1}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_deflate"}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_a_cut_file_is_never_half_read(tmp_path, kind, options):
    """Nor is one whose second half is zeros, as a download that stopped may leave it."""
    data = encoded(SMOOTH, kind, **options)
    path = tmp_path / "cut.png"
    for length in [*range(0, len(data) - 2, 1 + len(data) // 150), len(data) - 2]:
        path.write_bytes(data[:length])
        refused(read_rgb, path)
        if length and kind in ("PNG", "JPEG"):
            path.write_bytes(data[:length] + bytes(len(data) - length))
            refused(read_rgb, path)


@pytest.mark.parametrize("options", [{}, {"restart_marker_rows": 1}, {"subsampling": 0}])
def test_a_jpeg_that_ends_early_is_not_filled_up_with_grey(tmp_path, options):
    data = encoded(SMOOTH, "JPEG", quality=95, **options)
    path = tmp_path / "early.jpg"
    start = data.index(b"\xff\xda") + 14
    for length in range(start, len(data) - 40, 53):
        path.write_bytes(data[:length] + b"\xff\xd9")
        refused(read_rgb, path)


@pytest.mark.parametrize("read", [read_rgb, read_index_label])
def test_every_flipped_bit_of_a_png_is_seen(tmp_path, read):
    path = tmp_path / "00001.png"
    write_grey_label(path, np.random.default_rng(0).integers(0, 34, (20, 30), dtype=np.uint8))
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :])
        refused(read, path)


@pytest.mark.parametrize("kind", ["JPEG", "BMP", "TIFF", "WEBP"])
def test_altered_bytes_end_in_a_picture_or_in_one_line(tmp_path, kind):
    data = encoded(SMOOTH, kind)
    path = tmp_path / "altered.png"
    draw = np.random.default_rng(1)
    for _ in range(150):
        changed = bytearray(data)
        for place in draw.integers(0, min(len(data), 900), 3):
            changed[place] = draw.integers(256)
        path.write_bytes(changed)
        try:
            assert read_rgb(path).ndim == 3
        except UnreadableFile as error:
            assert str(error).startswith(str(path))


def test_a_label_is_stored_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "label.png"
    path.write_bytes(encoded(GREY, "PNG", exif=exif))
    assert "has an EXIF orientation: store the label upright" in refused(read_index_label, path)
