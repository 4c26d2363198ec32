"""Resizing as the official loaders do it: Pillow's antialiased filters, half-pixel centres.

Sizes are (width, height), as the papers write them. OpenCV's and torch's default filters do not
widen when they shrink and differ by up to 50 grey levels; DAFormer's loader takes OpenCV's.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def resize_image(
    image: UInt8[np.ndarray, "h w 3"], size: tuple[int, int], *, filter: str = "bicubic"
) -> UInt8[np.ndarray, "height width 3"]:
    """Image at ``size``, bit for bit what the releases' libraries return.

    ``filter`` is bicubic or bilinear (Pillow's, antialiased) or opencv (its linear one, which is
    not).
    """
    if filter == "opencv":
        return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    return _pillow(image, size, _FILTERS[filter])


def resize_label(
    label: UInt8[np.ndarray, "h w"], size: tuple[int, int]
) -> UInt8[np.ndarray, "height width"]:
    """Label at ``size``: each pixel takes the value under its centre, so no class is invented."""
    return _pillow(label, size, Image.Resampling.NEAREST)


def resize_label_by_corners(
    label: UInt8[np.ndarray, "h w"], size: tuple[int, int]
) -> UInt8[np.ndarray, "height width"]:
    """Label at ``size`` by OpenCV's rule: each pixel takes the value under its upper left corner.

    Half a pixel off the centres that ``resize_label`` takes; for labels of DAFormer's images.
    """
    return cv2.resize(label, size, interpolation=cv2.INTER_NEAREST)


def _pillow(pixels: np.ndarray, size: tuple[int, int], how: Image.Resampling) -> np.ndarray:
    # A copy, since Pillow's own memory is read-only and torch warns about such arrays.
    return np.array(Image.fromarray(pixels).resize(size, how))
