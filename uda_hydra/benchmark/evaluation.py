"""From logits to a confusion matrix at full size, against the way the releases share."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from uda_hydra.benchmark.confusion import CLASSES, histogram, scene
from uda_hydra.benchmark.setup import COMMON
from uda_hydra.benchmark.timing import Measurement, Setting, agree, side_by_side, speedup
from uda_hydra.engine.evaluator import count_pixels
from uda_hydra.engine.protocols import Look, label_map


def ours(logits: Float[Tensor, "1 k h w"], label: UInt8[Tensor, "h2 w2"]) -> Int64[Tensor, "k k"]:
    """What an evaluation does after the network; the matrix stays on the device."""
    prediction = label_map([Look(logits, tuple(label.shape))], tuple(label.shape), COMMON)
    return count_pixels(label, prediction, CLASSES)


def released(
    logits: Float[Tensor, "1 k h w"], label: Int64[np.ndarray, "h2 w2"]
) -> Int64[Tensor, "k k"]:
    """Upsample on the device, argmax and histogram with numpy on the host."""
    full = F.interpolate(logits, size=label.shape, mode="bilinear", align_corners=True)
    prediction = np.argmax(full.cpu().numpy()[0].transpose(1, 2, 0), axis=2)
    return torch.from_numpy(histogram(label, prediction))


def network_output(
    label: UInt8[Tensor, "h2 w2"], cells: tuple[int, int]
) -> Float[Tensor, "1 k h w"]:
    """Logits that find most of a scene: its classes, averaged over the cells, and some noise."""
    classes = torch.arange(CLASSES, dtype=torch.uint8)[:, None, None]
    shares = F.interpolate((label == classes)[None].float(), cells, mode="area")
    noise = torch.randn(shares.shape, generator=torch.Generator().manual_seed(0))
    return 8 * shares + noise


def compare(setting: Setting) -> list[Measurement]:
    """One image of Cityscapes, decoded and predicted already: logits of a scene, and noise."""
    cells = (9, 17) if setting.quick else (65, 129)
    label, _ = scene(setting)
    noise = torch.randn(1, CLASSES, *cells, generator=torch.Generator().manual_seed(0))
    kinds = {"scene": network_output(label, cells), "noise": noise}
    return [_row(f"evaluation, {kind}", logits, label, setting) for kind, logits in kinds.items()]


def _row(
    name: str, logits: Float[Tensor, "1 k h w"], label: UInt8[Tensor, "h2 w2"], setting: Setting
) -> Measurement:
    logits = logits.to(setting.device)
    fast = partial(ours, logits, label.to(setting.device))
    plain = partial(released, logits, label.long().numpy())
    # A GPU may break a near tie the other way than the host does.
    tolerance = 0.0 if setting.device.type == "cpu" else 1e-5
    agree(name, fast().cpu(), plain(), tolerance=tolerance)
    times = side_by_side(
        fast,
        plain,
        repetitions=setting.repetitions(15),
        device=setting.device,
    )
    note = (
        f"{CLASSES} classes, {logits.shape[3]}x{logits.shape[2]} cells to "
        f"{label.shape[1]}x{label.shape[0]} pixels: upsampling, argmax, confusion matrix; "
        "plain is given int64 labels on the host"
    )
    return speedup(name, times, "at least 2.5 on one CPU thread, 8 on a GPU", note)
