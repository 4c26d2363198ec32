"""Augmentations of an image together with its label. Sizes are (width, height)."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFilter

from uda_hydra.augment.resize import resize_image, resize_label
from uda_hydra.types import IGNORE


class Labelled(NamedTuple):
    """An RGB image and the train ids of its pixels."""

    image: UInt8[np.ndarray, "h w 3"]
    label: UInt8[np.ndarray, "h w"]


def mirrored(sample: Labelled) -> Labelled:
    """Left and right exchanged."""
    return Labelled(*(np.ascontiguousarray(part[:, ::-1]) for part in sample))


def resized(sample: Labelled, size: tuple[int, int]) -> Labelled:
    """Both at ``size``: bicubic, and each pixel of the label from under its centre."""
    if _size(sample) == size:
        return sample
    return Labelled(resize_image(sample.image, size), resize_label(sample.label, size))


def padded(sample: Labelled, size: tuple[int, int]) -> Labelled:
    """At least of ``size``: black, ignored pixels are added on the right and below."""
    height, width = sample.label.shape
    more = [(0, max(0, size[1] - height)), (0, max(0, size[0] - width))]
    image = np.pad(sample.image, [*more, (0, 0)])
    return Labelled(image, np.pad(sample.label, more, constant_values=IGNORE))


def cropped(sample: Labelled, corner: tuple[int, int], size: tuple[int, int]) -> Labelled:
    """The part of ``size`` whose upper left pixel is ``corner`` (x, y)."""
    (x, y), (width, height) = corner, size
    return Labelled(*(part[y : y + height, x : x + width] for part in sample))


def blurred(image: UInt8[np.ndarray, "h w 3"], radius: float) -> UInt8[np.ndarray, "h w 3"]:
    """Pillow's Gaussian blur."""
    return np.array(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))


def centre_crop(sample: Labelled, size: tuple[int, int]) -> Labelled:
    """The middle, after the shortest resizing that covers ``size``: MaxSquare's validation."""
    width, height = _size(sample)
    if size[0] / width < size[1] / height:
        covering = int(width * size[1] / height), size[1]
    else:
        covering = size[0], int(height * size[0] / width)
    sample = resized(sample, covering)
    corner = [round((covering[axis] - size[axis]) / 2) for axis in (0, 1)]
    return cropped(sample, (corner[0], corner[1]), size)


def random_scale_crop(
    sample: Labelled,
    *,
    base: tuple[int, int],
    crop: tuple[int, int],
    scales: tuple[float, float],
    random: Random,
) -> Labelled:
    """A part of ``crop`` of the image, which is resized to a random one of ``scales`` of ``base``.

    The ratio of the sides stays, and that side is drawn which ``base`` makes larger.
    """
    width, height = _size(sample)
    axis = 0 if base[0] / width > base[1] / height else 1
    drawn = random.randint(*(int(base[axis] * scale) for scale in scales))
    size = (
        (drawn, int(height * drawn / width)) if axis == 0 else (int(width * drawn / height), drawn)
    )
    sample = padded(resized(sample, size), crop)
    width, height = _size(sample)
    corner = random.randint(0, width - crop[0]), random.randint(0, height - crop[1])
    return cropped(sample, corner, crop)


def maxsquare_view(
    sample: Labelled,
    *,
    crop: tuple[int, int],
    base: tuple[int, int] | None,
    scales: tuple[float, float],
    mirror: float,
    blur: float,
    random: Random,
) -> Labelled:
    """Training view of MaxSquare (Chen et al., ICCV 2019): mirror, scale and crop, blur.

    ``mirror`` and ``blur`` are probabilities; without ``base`` the whole image is resized to
    ``crop``. Draws come in the order of the release, from a generator as Python's own.
    """
    if random.random() < mirror:
        sample = mirrored(sample)
    if base is None:
        sample = resized(sample, crop)
    else:
        sample = random_scale_crop(sample, base=base, crop=crop, scales=scales, random=random)
    if random.random() < blur:
        sample = Labelled(blurred(sample.image, random.random()), sample.label)
    return sample


def _size(sample: Labelled) -> tuple[int, int]:
    height, width = sample.label.shape
    return width, height
