"""Images of the reference files: written as data sets, and normalised as networks see them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from uda_hydra.data.label_space import LabelSpace
from uda_hydra.data.readers import ImageSet
from uda_hydra.data.readers.cityscapes import cityscapes
from uda_hydra.data.readers.gta5 import gta5
from uda_hydra.data.readers.synthia import synthia
from uda_hydra.models.normalizations import normalization
from uda_hydra.types import Crop, Resize, View

STEM = "aachen/aachen_000000_000019"
PLACES = {
    "gta5": ("images/00001.png", "labels/00001.png"),
    "synthia": ("RGB/0000001.png", "GT/LABELS/0000001.png"),
    "cityscapes": (
        f"leftImg8bit/train/{STEM}_leftImg8bit.png",
        f"gtFine/train/{STEM}_gtFine_labelIds.png",
    ),
}


def stored(
    root: Path, name: str, label_space: LabelSpace, image: torch.Tensor, label: torch.Tensor
) -> ImageSet:
    """One image and its raw label as a data set of a published layout, opened."""
    image_path, label_path = (root / place for place in PLACES[name])
    for path in (image_path, label_path):
        path.parent.mkdir(parents=True)
    Image.fromarray(image.numpy()).save(image_path)
    if name == "synthia":
        red_last = np.ascontiguousarray(label.numpy()[:, :, ::-1])
        assert cv2.imwrite(str(label_path), red_last)
        return synthia(root, label_space=label_space)
    ids = Image.fromarray(label.numpy())
    if name == "gta5":
        ids.putpalette([(5 * value + 3) % 256 for value in range(768)])
    ids.save(label_path)
    if name == "gta5":
        return gta5(root, label_space=label_space)
    return cityscapes(root, label_space=label_space, split="train")


def opened(found: ImageSet) -> tuple[torch.Tensor, torch.Tensor]:
    """RGB image and class numbers of the one sample."""
    (sample,) = found.samples
    image = torch.from_numpy(found.read_image(sample)).permute(2, 0, 1)
    return image, torch.from_numpy(found.read_label(sample))


def centre_view(size: tuple[int, int], wanted: tuple[int, int]) -> View:
    """The middle, after the shortest resizing that covers ``wanted``: MaxSquare's validation."""
    (width, height), covering = size, (wanted[0], int(size[1] * wanted[0] / size[0]))
    if wanted[0] / width < wanted[1] / height:
        covering = int(width * wanted[1] / height), wanted[1]
    x, y = (round((have - want) / 2) for have, want in zip(covering, wanted, strict=True))
    return View(size, (Resize(*covering), Crop(x, y, *wanted)))


def normalised(image: np.ndarray, name: str = "caffe") -> torch.Tensor:
    """One RGB image as the networks of a family take it."""
    batch = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
    return normalization(name)(batch)[0]
