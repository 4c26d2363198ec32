"""Labels from logits against upsampling everything and taking the argmax."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from uda_hydra.benchmark.timing import Measurement, Setting, agree, side_by_side, speedup
from uda_hydra.engine.labels import predict_labels

CLASSES = 19
CPU = torch.device("cpu")


def upsample_then_argmax(
    logits: Float[Tensor, "1 k h w"], size: tuple[int, int]
) -> UInt8[Tensor, "h2 w2"]:
    """The plain way: all logits at full size first."""
    full = F.interpolate(logits, size=size, mode="bilinear", align_corners=True)
    return full.argmax(dim=1)[0].to(torch.uint8)


def compare(setting: Setting) -> list[Measurement]:
    """The cells of a 1024x512 input to Cityscapes' full size, on the CPU."""
    cells, size = ((9, 17), (64, 128)) if setting.quick else ((65, 129), (1024, 2048))
    logits = torch.randn(1, CLASSES, *cells, generator=torch.Generator().manual_seed(0))
    agree("labels", predict_labels(logits, size), upsample_then_argmax(logits, size))
    times = side_by_side(
        lambda: predict_labels(logits, size),
        lambda: upsample_then_argmax(logits, size),
        repetitions=setting.repetitions(9),
        device=CPU,
    )
    note = (
        f"{CLASSES} classes, {cells[1]}x{cells[0]} cells to {size[1]}x{size[0]} pixels; "
        "always on the CPU"
    )
    return [speedup("upsample + argmax", times, "at least 1.8 on the CPU", note)]
