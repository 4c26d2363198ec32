"""Counting a confusion matrix against numpy's int64 histogram."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int64, UInt8

from uda_hydra.benchmark.timing import Row, Setting, agree, side_by_side, speedup
from uda_hydra.engine.evaluator import count_pixels
from uda_hydra.types import IGNORE

CLASSES = 19
CPU = torch.device("cpu")


def histogram(
    label: UInt8[np.ndarray, "h w"], prediction: UInt8[np.ndarray, "h w"]
) -> Int64[np.ndarray, "k k"]:
    """Pixels per truth and prediction, the way of FCN's evaluation that the releases share."""
    known = label < CLASSES
    cell = CLASSES * label[known].astype(np.int64) + prediction[known]
    return np.bincount(cell, minlength=CLASSES**2).reshape(CLASSES, CLASSES)


def compare(setting: Setting) -> list[Row]:
    """One image of Cityscapes' full size, on the CPU."""
    height, width = (64, 128) if setting.quick else (1024, 2048)
    generator = torch.Generator().manual_seed(0)
    label, prediction = (
        torch.randint(0, CLASSES, (height, width), generator=generator, dtype=torch.uint8)
        for _ in range(2)
    )
    label[: height // 10] = IGNORE
    arrays = label.numpy(), prediction.numpy()
    agree(
        "confusion matrix",
        count_pixels(label, prediction, CLASSES),
        torch.from_numpy(histogram(*arrays)),
    )
    times = side_by_side(
        lambda: count_pixels(label, prediction, CLASSES),
        lambda: histogram(*arrays),
        repetitions=setting.repetitions(31),
        device=CPU,
    )
    note = f"{width}x{height} pixels, {CLASSES} classes, a tenth ignored; always on the CPU"
    return [speedup("confusion matrix", times, "at least 8 on one thread", note)]
