"""From label files to arrays of raw ids: whole and exact, or an error that names the file."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Integer, UInt8, UInt32

from uda_hydra.data.pictures import (
    UnreadableFile,
    read_png,
    read_rgb,
    unreadable,
)

__all__ = [
    "UnreadableFile",
    "read_colour_label",
    "read_index_label",
    "read_rgb",
    "read_synthia_label",
]


def read_index_label(path: Path, *, largest: int = 255) -> Integer[np.ndarray, "h w"]:
    """Raw ids of a palette or grey PNG of at most 16 bits; uint8 where 8 bits hold them.

    ``UnreadableFile`` where the file has colours in their place or an id above ``largest``.
    """
    # Pillow and not OpenCV, which replaces a palette's indices by its colours.
    mode, depth, ids = _pixels(path)
    if mode not in ("P", "L", "1", "I", "I;16"):
        raise unreadable(
            path,
            f"holds {mode} colours where class numbers are expected: a palette or grey PNG "
            "(a class file of dataset=folders may list colours instead)",
        )
    if mode == "L" and depth < 8:
        # Pillow stretches grey levels of 2 or 4 bits to 0..255.
        ids = ids // (255 // (2**depth - 1))
    if ids.max() > largest:
        raise unreadable(path, f"holds the id {ids.max()}, and {largest} is the largest to expect")
    return ids.astype(np.uint8 if depth <= 8 or largest < 256 else np.uint16)


def read_colour_label(path: Path) -> UInt32[np.ndarray, "h w"]:
    """Colours of an RGB or palette PNG of 8 bits, each as one number 0xrrggbb."""
    mode, depth, pixels = _pixels(path, colours=True)
    if mode not in ("P", "RGB", "RGBA") or depth > 8:
        kind = f"{depth}-bit {'grey levels' if mode not in ('RGB', 'RGBA') else 'colours'}"
        raise unreadable(
            path,
            f"holds {kind} where colours of 8 bits are expected "
            "(a class file of dataset=folders may list raw ids instead)",
        )
    red, green, blue = (pixels[:, :, channel].astype(np.uint32) for channel in range(3))
    return red << 16 | green << 8 | blue


def _pixels(path: Path, *, colours: bool = False) -> tuple[str, int, np.ndarray]:
    """Pillow's mode, bits a channel, and the pixels; a palette's ``colours`` where asked for."""
    png = read_png(path)
    with png.open() as image:
        mode = image.mode
        return mode, png.depth, np.array(image.convert("RGB") if colours and mode == "P" else image)


def read_synthia_label(path: Path) -> UInt8[np.ndarray, "h w"]:
    """Raw ids of a 16-bit RGB PNG of SYNTHIA, which holds the class in its red channel."""
    # OpenCV and not Pillow, which keeps the high byte alone: zeros. OpenCV puts red last.
    pixels = read_png(path).decode(cv2.IMREAD_UNCHANGED)
    if pixels.dtype != np.uint16 or pixels.ndim != 3:
        raise unreadable(
            path,
            f"holds {pixels.dtype} pixels of shape {pixels.shape[2:] or 1} where "
            "a 16-bit RGB PNG with the class in its red channel is expected",
        )
    ids = pixels[:, :, 2]
    if ids.max() > 255:
        raise unreadable(path, f"holds the class {ids.max()}, SYNTHIA has 0 to 22")
    return ids.astype(np.uint8)
