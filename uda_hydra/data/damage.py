"""What decoders forgive: parts that are missing, altered, or more than the header claims.

OpenCV returns the upper half of a cut JPEG without a word, Pillow black for the rows that a PNG
lacks, anything for those of a TIFF, and both fill a JPEG up that ends early.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any

# Column and row of the first pixel of each pass of an interlaced PNG, and the steps between them.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
_PASSES += ((0, 1, 1, 2),)
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Channels of a PNG by its type of colours."""
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
"""Of a JPEG's markers those that do not stand alone; compressed data holds none of them."""
_SCAN, _END, _SINGLE_SCAN = 0xDA, 0xD9, (0xC0, 0xC1)
_PADDING = bytes(16)
_BITS, _COMPRESSION, _STRIP_BYTES, _TILE_BYTES = 258, 259, 279, 325
"""Tags of a TIFF: bits of each channel, and how many bytes each of its parts takes."""


class Damaged(ValueError):
    """A picture is not whole; the text continues a sentence that begins with its name."""


def first_jpeg(data: bytes) -> bytes:
    """The first picture of a JPEG, so that Pillow reports it when pixels are missing.

    Cameras append thumbnails, a second eye, or a film. Raises ``Damaged`` where it has no end.
    """
    place, scans, single = 2, 0, False
    while True:
        marker = _MARKER.search(data, place)
        if marker is None:
            raise Damaged("is cut short")
        kind = data[marker.end() - 1]
        if kind == _END:
            break
        scans += kind == _SCAN
        single |= kind in _SINGLE_SCAN
        place = marker.end() + max(2, int.from_bytes(data[marker.end() : marker.end() + 2], "big"))
    if single and scans == 1:
        # At a closing marker decoders fill what is missing with grey. After some bytes that mean
        # nothing they ask for more.
        return data[: marker.start()] + _PADDING
    return data[: marker.end()]


def check_strips(tags: Mapping[int, Any], size: tuple[int, int]) -> None:
    """Raise ``Damaged`` where the strips of an uncompressed TIFF hold fewer bytes than its pixels.

    Pillow would take what follows them in the file for pixels.
    """
    width, height = size
    needed = height * ((width * sum(tags.get(_BITS, (1,))) + 7) // 8)
    held = sum(tags.get(_STRIP_BYTES, ())) + sum(tags.get(_TILE_BYTES, ()))
    if tags.get(_COMPRESSION, 1) == 1 and 0 < held < needed:
        raise Damaged(f"claims {width}x{height} pixels, and holds fewer")


def whole_png(data: bytes, check_size: Callable[[int, int], None], *, count_pixels: bool) -> int:
    """Bits of a channel of a PNG, once ``check_size`` has seen what width and height it claims.

    Raises ``Damaged`` unless all chunks (length, name, content, checksum) are as written, of one
    picture. ``count_pixels`` compares their number with the header, for decoders that do not; it
    takes as long as decoding.
    """
    header, body = b"", []
    view, start = memoryview(data), 8
    while start + 12 <= len(data):
        end = start + 8 + int.from_bytes(view[start : start + 4], "big")
        if zlib.crc32(view[start + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            break
        name, content = bytes(view[start + 4 : start + 8]), view[start + 8 : end]
        if name != b"IHDR" and not header:
            raise Damaged("cannot be decoded: it has no header")
        if name == b"IHDR" and not header:
            header = bytes(content)
            if len(header) != 13 or header[9] not in _CHANNELS:
                raise Damaged("cannot be decoded: its header is damaged")
            check_size(*struct.unpack(">II", header[:8]))
        elif name == b"IDAT":
            body.append(content)
        elif name == b"acTL":
            raise Damaged("holds several pictures: save the one to use as a file of its own")
        elif name == b"IEND":
            if count_pixels:
                _check_pixels(header, body)
            return header[8]
        start = end + 4
    raise Damaged(f"is cut short or altered after byte {start} of {len(data)}")


def _check_pixels(header: bytes, body: list[memoryview]) -> None:
    width, height, depth, colours, *_, interlaced = struct.unpack(">IIBBBBB", header)
    expected = 0
    for column, row, across, down in _PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -((column - width) // across), -((row - height) // down)
        if columns > 0 and rows > 0:
            expected += rows * (1 + (columns * depth * _CHANNELS[colours] + 7) // 8)
    try:
        pixels = zlib.decompressobj().decompress(b"".join(body), expected + 1)
    except zlib.error as error:
        raise Damaged(f"cannot be decoded ({error})") from error
    if len(pixels) != expected:
        raise Damaged(f"claims {width}x{height} pixels, and holds fewer or more")
