"""The three official folder layouts and label encodings, written as the real data sets have them.

Only what a worker process needs is imported here: class tables come as arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image

from uda_hydra.data.streets import ids

if TYPE_CHECKING:
    from uda_hydra.data.label_space import LabelSpace

REAL_SIZES = {"GTA5": (1914, 1052), "SYNTHIA": (1280, 760), "Cityscapes": (2048, 1024)}
"""Width and height of the real images: the aspect ratio of ours, and their largest size."""

# The scenes speak Cityscapes; what SYNTHIA knows beyond the 19 classes is void but for these lines.
_SYNTHIA_LANE_MARKING = 22

_CITIES = {
    "train": ("aachen", "bremen", "cologne", "hamburg", "jena", "stuttgart", "weimar", "zurich"),
    "val": ("frankfurt", "lindau", "munster"),
}


class Tables(NamedTuple):
    """Look-ups from the raw ids of a scene."""

    palette: UInt8[np.ndarray, "raw=256 rgb=3"]  # official Cityscapes colours
    synthia: UInt8[np.ndarray, "raw=256"]  # SYNTHIA id


def make_tables(
    label_space: LabelSpace,
    cityscapes_ids: Mapping[str, tuple[int, ...]],
    synthia_ids: Mapping[str, tuple[int, ...]],
) -> Tables:
    """From the colours of the classes and their raw ids in both data sets."""
    colours, synthia = np.zeros((256, 3), np.uint8), np.zeros(256, np.uint8)
    # Scenes hold two ignored ids, bonnet and bin, and both are officially black.
    for name, colour in zip(label_space.names, label_space.colours, strict=True):
        (raw,), (other,) = cityscapes_ids[name], synthia_ids[name]
        colours[raw], synthia[raw] = colour, other
    synthia[ids.LANE_MARKING] = _SYNTHIA_LANE_MARKING
    return Tables(colours, synthia)


def image_size(domain: str, height: int) -> tuple[int, int]:
    """Height and width of a domain's images, given the height of Cityscapes'.

    All domains get the same width, in their real aspect ratio, until the real size is reached.
    """
    width, full = REAL_SIZES[domain]
    chosen = min(2 * height, width)
    return round(full * chosen / width), chosen


def write_gta5(
    root: Path,
    index: int,
    image: UInt8[np.ndarray, "h w 3"],
    raw: UInt8[np.ndarray, "h w"],
    tables: Tables,
) -> None:
    """``images/00001.png`` and an 8-bit palette label whose index is the Cityscapes id."""
    name = f"{index + 1:05d}.png"
    _write_image(root / "images" / name, image)
    label = Image.fromarray(_roads_whole(raw), "P")
    label.putpalette(tables.palette.tobytes())
    path = _with_folder(root / "labels" / name)
    label.save(path, compress_level=3)


def write_synthia(
    root: Path,
    index: int,
    image: UInt8[np.ndarray, "h w 3"],
    raw: UInt8[np.ndarray, "h w"],
    tables: Tables,
) -> None:
    """``RGB/0000000.png`` and a 16-bit label: class in red, instance in green."""
    name = f"{index:07d}.png"
    _write_image(root / "RGB" / name, image)
    label = np.zeros((*raw.shape, 3), np.uint16)
    # OpenCV keeps blue first.
    label[..., 2], label[..., 1] = tables.synthia[raw], _instances(raw)
    _write_png(root / "GT" / "LABELS" / name, label)


def write_cityscapes(
    root: Path,
    split: str,
    index: int,
    image: UInt8[np.ndarray, "h w 3"],
    raw: UInt8[np.ndarray, "h w"],
) -> None:
    """``leftImg8bit/<split>/<city>/..._leftImg8bit.png`` and ``gtFine/..._gtFine_labelIds.png``."""
    cities = _CITIES[split]
    sequence, city = divmod(index, len(cities))
    stem = f"{cities[city]}_{sequence:06d}_000019"
    folder = Path(split) / cities[city]
    _write_image(root / "leftImg8bit" / folder / f"{stem}_leftImg8bit.png", image)
    _write_png(root / "gtFine" / folder / f"{stem}_gtFine_labelIds.png", _roads_whole(raw))


def _roads_whole(raw: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """Lane markings are road in GTA5 and Cityscapes."""
    return np.where(raw == ids.LANE_MARKING, np.uint8(ids.ROAD), raw)


def _instances(raw: UInt8[np.ndarray, "h w"]) -> UInt16[np.ndarray, "h w"]:
    """Connected pixels of a countable class share a number from 1; 0 elsewhere."""
    numbers = np.zeros(raw.shape, np.uint16)
    used = 0
    for thing in ids.THINGS:
        found, parts = cv2.connectedComponents((raw == thing).astype(np.uint8))
        numbers[parts > 0] = parts[parts > 0] + used
        used += found - 1
    return numbers


def _write_image(path: Path, image: UInt8[np.ndarray, "h w 3"]) -> None:
    _write_png(path, image[..., ::-1])


def _write_png(path: Path, array: np.ndarray) -> None:
    done, data = cv2.imencode(".png", array, (cv2.IMWRITE_PNG_COMPRESSION, 1))
    assert done, path
    # Not cv2.imwrite, which hides the reason (a full disk, say) behind a False.
    _with_folder(path).write_bytes(data.tobytes())


def _with_folder(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
