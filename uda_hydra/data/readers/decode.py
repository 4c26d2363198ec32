"""From files to arrays: a whole image or an error that names the file, never a half-read one."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Integer, Shaped, UInt8, UInt32
from PIL import Image

from uda_hydra.errors import UserError

_PNG = b"\x89PNG\r\n\x1a\n"
_SIZE, _DEPTH = slice(16, 24), 24
"""Where a PNG's header holds width and height, and the bits of a channel."""
_PIXELS = 80_000_000
"""No image of more is decoded: a small file can claim to be enormous."""
_JPEG, _JPEG_SCAN, _JPEG_END = b"\xff\xd8\xff", b"\xff\xda", b"\xff\xd9"


class UnreadableFile(UserError, ValueError):
    """A file of a data set that is missing, damaged, or not what its place in the set demands."""


def read_rgb(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """Any image file as 8-bit RGB; ``UnreadableFile`` where it is damaged."""
    return cv2.cvtColor(_decode(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def read_index_label(path: Path, *, largest: int = 255) -> Integer[np.ndarray, "h w"]:
    """Raw ids of a palette or grey PNG of at most 16 bits; uint8 where 8 bits hold them.

    ``UnreadableFile`` where the file has colours in their place or an id above ``largest``.
    """
    # Pillow and not OpenCV, which replaces a palette's indices by its colours.
    mode, depth, ids = _open_png(path)
    if mode not in ("P", "L", "1", "I", "I;16"):
        raise _unreadable(
            path,
            f"holds {mode} colours where class numbers are expected: a palette or grey PNG "
            "(a class file of dataset=folders may list colours instead)",
        )
    if mode == "L" and depth < 8:
        # Pillow stretches grey levels of 2 or 4 bits to 0..255.
        ids = ids // (255 // (2**depth - 1))
    if ids.max() > largest:
        raise _unreadable(path, f"holds the id {ids.max()}, and {largest} is the largest to expect")
    return ids.astype(np.uint8 if depth <= 8 or largest < 256 else np.uint16)


def read_colour_label(path: Path) -> UInt32[np.ndarray, "h w"]:
    """Colours of an RGB or palette PNG of 8 bits, each as one number 0xrrggbb."""
    mode, depth, pixels = _open_png(path, colours=True)
    if mode not in ("P", "RGB", "RGBA") or depth > 8:
        kind = f"{depth}-bit {'grey levels' if mode not in ('RGB', 'RGBA') else 'colours'}"
        raise _unreadable(
            path,
            f"holds {kind} where colours of 8 bits are expected "
            "(a class file of dataset=folders may list raw ids instead)",
        )
    red, green, blue = (pixels[:, :, channel].astype(np.uint32) for channel in range(3))
    return red << 16 | green << 8 | blue


def _open_png(path: Path, *, colours: bool = False) -> tuple[str, int, np.ndarray]:
    """Pillow's mode, bits a channel, and the pixels; a palette's ``colours`` where asked for."""
    data = _whole_file(path)
    if not data.startswith(_PNG):
        raise _unreadable(path, "cannot be decoded: labels must be PNG files")
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            mode = image.mode
            pixels = np.array(image.convert("RGB") if colours and mode == "P" else image)
    except (OSError, SyntaxError, ValueError, zlib.error) as error:
        raise _unreadable(path, f"cannot be decoded ({error})") from error
    return mode, data[_DEPTH], pixels


def read_synthia_label(path: Path) -> UInt8[np.ndarray, "h w"]:
    """Raw ids of a 16-bit RGB PNG of SYNTHIA, which holds the class in its red channel."""
    # OpenCV and not Pillow, which keeps the high byte alone: zeros. OpenCV puts red last.
    pixels = _decode(path, cv2.IMREAD_UNCHANGED)
    if pixels.dtype != np.uint16 or pixels.ndim != 3:
        raise _unreadable(
            path,
            f"holds {pixels.dtype} pixels of shape {pixels.shape[2:] or 1} where "
            "a 16-bit RGB PNG with the class in its red channel is expected",
        )
    ids = pixels[:, :, 2]
    if ids.max() > 255:
        raise _unreadable(path, f"holds the class {ids.max()}, SYNTHIA has 0 to 22")
    return ids.astype(np.uint8)


def _decode(path: Path, flags: int) -> Shaped[np.ndarray, "h w *channels"]:
    data = np.frombuffer(_whole_file(path), np.uint8)
    try:
        pixels = cv2.imdecode(data, flags)
    except cv2.error as error:
        raise _unreadable(path, f"cannot be decoded ({error})") from error
    if pixels is None:
        raise _unreadable(path, "cannot be decoded")
    return pixels


def _whole_file(path: Path) -> bytes:
    """The bytes of a file that is not visibly cut or altered.

    Decoders differ in what they forgive: OpenCV returns the upper half of a cut JPEG without a
    word. The check costs about 1 ms of the 50 of decoding and asks no decoder.
    """
    try:
        # Not a pipe or a device, which may never end.
        if path.exists() and not path.is_file():
            raise _unreadable(path, "is not a regular file")
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, f"cannot be read ({error.strerror})") from error
    if not data:
        raise _unreadable(path, "is empty")
    if data.startswith(_PNG):
        _check_png(path, data)
    # A thumbnail has an end of its own, so it is the one after the last scan that counts.
    elif data.startswith(_JPEG) and data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN):
        raise _unreadable(path, "is cut short")
    return data


def _check_png(path: Path, data: bytes) -> None:
    """Follow the chunks (length, name, content, checksum) to the closing one."""
    view, start = memoryview(data), len(_PNG)
    width, height = (int.from_bytes(data[_SIZE][i : i + 4], "big") for i in (0, 4))
    if width * height > _PIXELS:
        raise _unreadable(path, f"claims {width}x{height} pixels, and {_PIXELS} is the limit")
    while start + 12 <= len(data):
        end = start + 8 + int.from_bytes(view[start : start + 4], "big")
        if zlib.crc32(view[start + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            break
        if view[start + 4 : start + 8] == b"IEND":
            return
        start = end + 4
    raise _unreadable(path, f"is cut short or altered after byte {start} of {len(data)}")


def _unreadable(path: Path, reason: str) -> UnreadableFile:
    return UnreadableFile(
        f"{path} {reason}. Replace this file; task=check_data finds all such files of a data set."
    )
