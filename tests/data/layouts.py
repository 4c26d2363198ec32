"""Tiny folders in the published layouts, written as the publishers write them."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

SIZE = (6, 4)  # height, width


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def write_image(path: Path, seed: int = 0) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(seed)).save(path)
    return picture(seed)


def write_palette_label(path: Path, ids: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    label = Image.fromarray(ids)
    # Colours that do not repeat the index, as in GTA5.
    label.putpalette([(7 * value + 13) % 256 for value in range(768)])
    label.save(path)


def write_grey_label(path: Path, ids: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(ids).save(path)


def write_synthia_label(path: Path, ids: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    blue, green = np.zeros_like(ids), np.full_like(ids, 44)
    assert cv2.imwrite(str(path), np.dstack([blue, green, ids]).astype(np.uint16))


def gta5_folder(root: Path, numbers: list[int]) -> Path:
    for number in numbers:
        write_image(root / "images" / f"{number:05d}.png", number)
        ids = np.full(SIZE, 7, np.uint8)
        ids[0] = (0, 33, 34, 26)
        write_palette_label(root / "labels" / f"{number:05d}.png", ids)
    return root


def synthia_folder(root: Path, numbers: list[int]) -> Path:
    for number in numbers:
        write_image(root / "RGB" / f"{number:07d}.png", number)
        ids = np.full(SIZE, 3, np.uint8)
        ids[0] = (0, 22, 21, 11)
        write_synthia_label(root / "GT" / "LABELS" / f"{number:07d}.png", ids)
    return root


def cityscapes_folder(root: Path, split: str, names: list[str]) -> Path:
    for seed, name in enumerate(names):
        city = name.split("_")[0]
        write_image(root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", seed)
        ids = np.full(SIZE, 7, np.uint8)
        ids[0] = (3, 8, 11, 33)
        write_grey_label(root / "gtFine" / split / city / f"{name}_gtFine_labelIds.png", ids)
    return root
