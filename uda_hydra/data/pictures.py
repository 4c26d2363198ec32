"""The one door for pictures: a whole one by plain rules, or an error that names file and remedy.

PNG, JPEG, WebP, BMP and TIFF are read, told apart by their content. A picture is shown upright, as
its EXIF orientation says. Grey levels, palettes and 16 bits become RGB of 8 bits (the upper ones),
transparency is dropped. Several pictures in one file are refused, and so are colours that are not
RGB (CMYK, LAB) and numbers beyond 16 bits: a file alone does not say how these look.
"""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.Image import Image, Transpose
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from uda_hydra.data.damage import Damaged, check_strips, first_jpeg, whole_png
from uda_hydra.errors import UserError
from uda_hydra.inputs import InputError, read_bytes, shown

ENDINGS = ("png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff")
"""Endings of the names of pictures; upper case counts too. The content decides what a file is."""
MOST_PIXELS = 80_000_000
"""No picture of more is decoded: a small file can claim to be enormous."""
LARGEST_FILE = 1_000_000_000
"""Bytes; a picture of ``MOST_PIXELS`` needs fewer."""

# A part of a picture is never passed off as the whole.
ImageFile.LOAD_TRUNCATED_IMAGES = False

# The classes themselves and not Image.open, which tries formats of which some start programs.
_FORMATS = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), PngImageFile),
    (re.compile(rb"\xff\xd8\xff"), JpegImageFile),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), WebPImageFile),
    (re.compile(rb"BM"), BmpImageFile),
    (re.compile(rb"II\*\0|MM\0\*"), TiffImageFile),
)
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "I;16", "I;16B")
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}


class UnreadableFile(UserError, ValueError):
    """A picture that is missing, damaged, or not what its place demands."""


class Png(NamedTuple):
    """A PNG whose bytes are as they were written."""

    path: Path
    data: bytes
    depth: int
    """Bits of a channel."""

    def open(self) -> Image:
        """Pillow's picture, as it is stored; ``UnreadableFile`` where it is to be turned."""
        try:
            image = PngImageFile(io.BytesIO(self.data))
            image.load()
            orientation = _orientation(image)
        except Exception as error:
            raise _undecodable(self.path, error) from error
        if orientation in _UPRIGHT:
            raise unreadable(self.path, "has an EXIF orientation: store the label upright")
        return image

    def decode(self, flags: int) -> Shaped[np.ndarray, "h w *channels"]:
        """OpenCV's pixels; ``UnreadableFile`` where there are none."""
        try:
            pixels = cv2.imdecode(np.frombuffer(self.data, np.uint8), flags)
        except cv2.error as error:
            raise _undecodable(self.path, error) from error
        if pixels is None:
            raise unreadable(self.path, "cannot be decoded")
        return pixels


def read_rgb(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """A picture as RGB of 8 bits, upright; ``UnreadableFile`` where it is not whole."""
    data, kind = _content(path)
    if kind is PngImageFile:
        # OpenCV is faster than Pillow, refuses what lacks rows, and turns the picture by itself.
        png = _png(path, data, count_pixels=False)
        return cv2.cvtColor(png.decode(cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    try:
        if kind is JpegImageFile:
            data = first_jpeg(data)
        with warnings.catch_warnings(action="ignore"), kind(io.BytesIO(data)) as image:
            _check_header(path, image)
            if isinstance(image, TiffImageFile):
                check_strips(image.tag_v2, image.size)
            return _rgb(image)
    except UnreadableFile:
        raise
    except Damaged as error:
        raise unreadable(path, str(error)) from error
    except Exception as error:
        raise _undecodable(path, error) from error


def read_png(path: Path) -> Png:
    """A PNG, unchanged since it was written; ``UnreadableFile`` for everything else."""
    data, kind = _content(path)
    if kind is not PngImageFile:
        raise unreadable(path, "cannot be decoded: labels must be PNG files")
    return _png(path, data, count_pixels=True)


def unreadable(path: Path, reason: str) -> UnreadableFile:
    """The error for ``path``, whose ``reason`` continues the sentence."""
    return UnreadableFile(
        f"{shown(path)} {reason}. Replace this file; "
        "task=check_data finds all such files of a data set."
    )


def _undecodable(path: Path, error: Exception) -> UnreadableFile:
    """Decoders raise whatever they run into: a dozen types, some with several lines of text."""
    return unreadable(path, f"cannot be decoded ({shown(error)})")


def _content(path: Path) -> tuple[bytes, type[ImageFile.ImageFile]]:
    """The bytes of a file and its format."""
    try:
        data = read_bytes(path, largest=LARGEST_FILE)
    except InputError as error:
        raise unreadable(path, error.reason) from error
    for start, kind in _FORMATS:
        if start.match(data):
            return data, kind
    raise unreadable(path, "cannot be decoded: it is no PNG, JPEG, WebP, BMP or TIFF")


def _png(path: Path, data: bytes, *, count_pixels: bool) -> Png:
    try:
        depth = whole_png(data, lambda *size: _check_size(path, *size), count_pixels=count_pixels)
        return Png(path, data, depth)
    except Damaged as error:
        raise unreadable(path, str(error)) from error


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise unreadable(
            path,
            f"claims {width}x{height} pixels, and {MOST_PIXELS} is the limit: reduce its size",
        )
    if min(width, height) < 1:
        raise unreadable(path, f"claims {width}x{height} pixels")


def _check_header(path: Path, image: ImageFile.ImageFile) -> None:
    _check_size(path, *image.size)
    if getattr(image, "n_frames", 1) > 1:
        raise unreadable(path, "holds several pictures: save the one to use as a file of its own")
    if image.mode not in _MODES:
        raise unreadable(path, f"holds {image.mode} colours: save it as RGB or grey")


def _rgb(image: Image) -> UInt8[np.ndarray, "h w 3"]:
    image.load()
    orientation = _orientation(image)
    if orientation in _UPRIGHT:
        image = image.transpose(_UPRIGHT[orientation])
    if image.mode.startswith("I;16"):
        # Pillow would cut off at 255 what is above it.
        return np.stack([(np.array(image) >> 8).astype(np.uint8)] * 3, axis=-1)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _orientation(image: Image) -> int:
    """How the picture is to be turned; 1, upright, where its EXIF data cannot be read."""
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except SyntaxError:  # Pillow's word for EXIF data that begin as no TIFF does
        return 1
