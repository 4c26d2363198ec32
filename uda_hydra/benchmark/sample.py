"""One sample of Cityscapes at training size against Pillow and a loop over the classes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from uda_hydra.benchmark.timing import Measurement, Setting, agree, side_by_side, speedup
from uda_hydra.data.cache import CachedImages
from uda_hydra.data.labels import CITYSCAPES19
from uda_hydra.data.readers.cityscapes import IDS, cityscapes
from uda_hydra.data.readers.image_set import Sample
from uda_hydra.data.samples import ResizedImages
from uda_hydra.data.streams import Samples
from uda_hydra.data.streets import generate
from uda_hydra.types import IGNORE

CPU = torch.device("cpu")
LEVELS = 2 / 255
"""Two of 255 grey levels: what faster resampling may differ from Pillow's by."""


def plain_sample(
    sample: Sample, size: tuple[int, int]
) -> tuple[UInt8[Tensor, "3 h w"], UInt8[Tensor, "h w"]]:
    """Decode and resize with Pillow, then a pass for each class over the label as float32."""
    with Image.open(sample.image) as file:
        image = np.array(file.convert("RGB").resize(size, Image.Resampling.BICUBIC))
    with Image.open(sample.label) as file:
        raw = np.array(file.resize(size, Image.Resampling.NEAREST), np.float32)
    label = np.full(raw.shape, IGNORE, np.float32)
    for number, (raw_id,) in enumerate(CITYSCAPES19.raw_ids(IDS)):
        label[raw == raw_id] = number
    planes = torch.from_numpy(image).permute(2, 0, 1).contiguous()
    return planes, torch.from_numpy(label).byte()


def frame(folder: Path, height: int) -> Path:
    """Cityscapes root with one generated image of ``height``."""
    root = generate(folder, seed=0, height=height, target=1, workers=1)
    return root / "Cityscapes"


def check(samples: Samples, plain: tuple[Tensor, Tensor]) -> None:
    """The labels are equal, the images up to two grey levels."""
    image, label = plain
    agree("image of the sample", samples.image(0) / 255, image / 255, tolerance=LEVELS)
    agree("label of the sample", samples.label(0), label)


def compare(setting: Setting) -> list[Measurement]:
    """Compare a sample decoded from the files and one read from the cache; on the CPU."""
    height, size = (64, (64, 32)) if setting.quick else (1024, (1024, 512))
    images = cityscapes(frame(setting.folder, height), label_space=CITYSCAPES19, split="train")
    plain = plain_sample(images.samples[0], size)
    uncached = ResizedImages(images, size)
    cached = CachedImages(uncached, setting.folder / "cache")
    # The first look at the cache makes the entries, the second reads them and their checksums.
    for samples in (uncached, cached, cached):
        check(samples, plain)

    note = (
        f"a generated {2 * height}x{height} frame to {size[0]}x{size[1]}: uint8 image and train "
        "ids, without the float conversion (done on the device); always on the CPU"
    )
    pairs = {
        "sample, uncached": (uncached, 21, "at least 1.6", note),
        "sample, cached": (cached, 101, "at least 300", f"{note}; file in memory, verified before"),
    }
    rows = []
    for name, (samples, count, demand, about) in pairs.items():
        times = side_by_side(
            partial(read, samples),
            lambda: plain_sample(images.samples[0], size),
            repetitions=setting.repetitions(count),
            device=CPU,
        )
        rows.append(speedup(name, times, demand, about))
    return rows


def read(samples: Samples) -> tuple[Tensor, Tensor]:
    """The sample our way."""
    return samples.image(0), samples.label(0)
