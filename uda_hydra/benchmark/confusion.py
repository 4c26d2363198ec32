"""Counting a confusion matrix against numpy's int64 histogram."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from uda_hydra.benchmark.sample import frame
from uda_hydra.benchmark.timing import Row, Setting, agree, side_by_side, speedup
from uda_hydra.data.labels import CITYSCAPES19
from uda_hydra.data.readers.cityscapes import cityscapes
from uda_hydra.engine.evaluator import count_pixels
from uda_hydra.types import IGNORE

CLASSES = 19
CPU = torch.device("cpu")


def histogram(
    label: Int64[np.ndarray, "h w"], prediction: Int64[np.ndarray, "h w"]
) -> Int64[np.ndarray, "k k"]:
    """Pixels per truth and prediction, the way of FCN's evaluation that the releases share."""
    known = (label >= 0) & (label < CLASSES)
    cell = CLASSES * label[known].astype(np.int64) + prediction[known]
    return np.bincount(cell, minlength=CLASSES**2).reshape(CLASSES, CLASSES)


def scene(setting: Setting) -> tuple[UInt8[Tensor, "h w"], UInt8[Tensor, "h w"]]:
    """A generated label, and as prediction the same shifted by some pixels: runs of equal pairs."""
    root = frame(setting.folder, 64 if setting.quick else 1024)
    images = cityscapes(root, label_space=CITYSCAPES19, split="train")
    label = torch.from_numpy(images.read_label(images.samples[0]))
    prediction = label.roll((3, 5), (0, 1))
    return label, prediction.where(prediction < CLASSES, 0)


def noise(shape: tuple[int, ...]) -> tuple[UInt8[Tensor, "h w"], UInt8[Tensor, "h w"]]:
    """No two neighbours alike; a tenth is ignored."""
    label, prediction = (torch.randint(CLASSES, shape, dtype=torch.uint8) for _ in range(2))
    label[: shape[0] // 10] = IGNORE
    return label, prediction


def compare(setting: Setting) -> list[Row]:
    """Images of Cityscapes' full size, on the CPU; how alike neighbours are decides the speed."""
    street = scene(setting)
    kinds = {"scene": street, "noise": noise(tuple(street[0].shape))}
    return [_row(f"confusion matrix, {kind}", *maps, setting) for kind, maps in kinds.items()]


def _row(
    name: str, label: UInt8[Tensor, "h w"], prediction: UInt8[Tensor, "h w"], setting: Setting
) -> Row:
    ours = partial(count_pixels, label, prediction, CLASSES)
    plain = partial(histogram, label.long().numpy(), prediction.long().numpy())
    agree(name, ours(), torch.from_numpy(plain()))
    times = side_by_side(ours, plain, repetitions=setting.repetitions(31), device=CPU)
    height, width = label.shape
    note = f"{width}x{height} pixels, {CLASSES} classes, plain is given int64; always on the CPU"
    return speedup(name, times, "at least 8 on one thread", note)
