"""Views of Pillow pictures: bit for bit what the releases' loaders make of their images."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from uda_hydra.augment.resize import resize_image
from uda_hydra.types import Crop, CutOut, Mirror, Operation, Resize, Rotate, Shear, Translate, View


def to_pillow(image: UInt8[Tensor, "3 h w"]) -> Image.Image:
    """The same picture for Pillow."""
    return Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))


def from_pillow(picture: Image.Image) -> UInt8[Tensor, "3 h w"]:
    """The same picture for torch."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


def warp_picture(
    image: UInt8[Tensor, "3 h w"], view: View, filter: str, fill: int
) -> UInt8[Tensor, "3 _ _"]:
    """``warp`` of an image."""
    if not view.operations:
        return image
    picture = to_pillow(image)
    for operation in view.operations:
        picture = change_picture(picture, operation, filter=filter, fill=fill)
    return from_pillow(picture)


def change_picture(
    picture: Image.Image, operation: Operation, *, filter: str = "bicubic", fill: int = 0
) -> Image.Image:
    """One operation on a Pillow picture; what was outside is grey of level ``fill``."""
    colour, size = (fill, fill, fill), picture.size
    match operation:
        case Resize(width, height):
            if size == (width, height):
                return picture
            pixels = resize_image(np.asarray(picture), (width, height), filter=filter)
            return Image.fromarray(pixels)
        case Crop(x, y, width, height):
            part = Image.new("RGB", (width, height), colour)
            part.paste(picture, (-x, -y))
            return part
        case Mirror():
            return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        case Rotate(degrees):
            return picture.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=colour)
        case Shear(x, y):
            return _affine(picture, (1.0, x, 0.0, y, 1.0, 0.0), colour)
        case Translate(x, y):
            return _affine(picture, (1.0, 0.0, float(x), 0.0, 1.0, float(y)), colour)
        case CutOut(x0, y0, x1, y1):
            # The releases draw the rectangle with its last column and row, which labels keep.
            picture = picture.copy()
            picture.paste(colour, (x0, y0, min(x1 + 1, size[0]), min(y1 + 1, size[1])))
            return picture


def _affine(
    picture: Image.Image, matrix: tuple[float, ...], colour: tuple[int, int, int]
) -> Image.Image:
    how = Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    return picture.transform(picture.size, *how, fillcolor=colour)
