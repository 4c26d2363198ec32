"""Evaluation protocols: from a network and an image to a label map, as each release does it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from uda_hydra.engine.labels import predict_labels
from uda_hydra.models.windows import starts
from uda_hydra.settings import EvaluationSettings
from uda_hydra.types import Predictor


class Look(NamedTuple):
    """Logits of one view of an image; those of the mirror image are mirrored back."""

    logits: Float[Tensor, "1 k h w"]
    size: tuple[int, int]
    """Height and width of the view."""


def input_sizes(protocol: EvaluationSettings, trained: tuple[int, int]) -> list[tuple[int, int]]:
    """Sizes (width, height) at which images are read; ``trained`` is the size in training.

    Raises ValueError for a scale that leaves no pixel.
    """
    width, height = protocol.size or trained
    for scale in protocol.scales:
        if min(width, height) * scale < 1:
            raise ValueError(f"evaluation.scales: {scale} leaves no pixel of {width}x{height}")
    if protocol.rescale == "input":
        return [(width, height)]
    return [(round(width * scale), round(height * scale)) for scale in protocol.scales]


def look(
    predictor: Predictor,
    images: Sequence[UInt8[Tensor, "3 _ _"]],
    protocol: EvaluationSettings,
    *,
    device: torch.device,
    bfloat16: bool,
) -> list[Look]:
    """Every look of the protocol at one image, which comes at the sizes of ``input_sizes``.

    ``bfloat16`` runs the network under autocast; logits are float32 in any case.
    """
    looks = []
    inputs = [predictor.normalization(i[None].to(device, non_blocking=True)) for i in images]
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
        for view in _views(inputs, protocol):
            size = tuple(view.shape[-2:])
            looks.append(Look(_logits(predictor, view, protocol), size))
            if protocol.mirror:
                logits = _logits(predictor, view.flip(-1), protocol)
                looks.append(Look(logits.flip(-1), size))
    return looks


def _views(inputs: list[Tensor], protocol: EvaluationSettings) -> Iterator[Tensor]:
    if protocol.rescale == "image":
        yield from inputs
        return
    height, width = inputs[0].shape[-2:]
    for scale in protocol.scales:
        size = int(height * scale), int(width * scale)
        yield _enlarge(inputs[0], size, align_corners=True)


def _logits(predictor: Predictor, view: Tensor, protocol: EvaluationSettings) -> Tensor:
    if protocol.window is None:
        return predictor.predict(view, aux_weight=protocol.aux_weight).float()

    def look_at(window: Tensor) -> Tensor:
        logits = predictor.predict(window, aux_weight=protocol.aux_weight).float()
        size = tuple(window.shape[-2:])
        return _enlarge(logits, size, align_corners=protocol.align_corners)

    return slide(look_at, view, protocol.window, protocol.window_stride)


def slide(
    look_at: Callable[[Tensor], Tensor],
    view: Float[Tensor, "b c h w"],
    window: Sequence[int],
    stride: Sequence[int],
) -> Float[Tensor, "b k h w"]:
    """Mean over overlapping windows of what ``look_at`` returns for each, at its size.

    ``window`` and ``stride`` are width and height. The last window of a row or column is moved back
    to the edge; an image smaller than a window is looked at whole.
    """
    rows, columns = (
        starts(side, length, step)
        for side, length, step in zip(view.shape[-2:], window[::-1], stride[::-1], strict=True)
    )
    total: Tensor | None = None
    for y in rows:
        for x in columns:
            place = (..., slice(y, y + window[1]), slice(x, x + window[0]))
            seen = look_at(view[place])
            if total is None:
                total = seen.new_zeros(*seen.shape[:2], *view.shape[-2:])
                cover = seen.new_zeros(view.shape[-2:])
            total[place] += seen
            cover[place] += 1
    assert total is not None
    return total / cover


def label_map(
    looks: Sequence[Look], size: tuple[int, int], protocol: EvaluationSettings
) -> UInt8[Tensor, "height width"]:
    """The most likely class of each pixel at ``size`` (height, width)."""
    plain = protocol.align_corners and not protocol.via_input_size and protocol.softmax == "after"
    if len(looks) == 1 and plain:
        # The common protocol has a way that never stores the enlarged logits.
        return predict_labels(looks[0].logits, size)
    return probability_map(looks, size, protocol).argmax(dim=1)[0].to(torch.uint8)


def probability_map(
    looks: Sequence[Look], size: tuple[int, int], protocol: EvaluationSettings
) -> Float[Tensor, "1 k height width"]:
    """Mean probability over the looks at ``size`` (height, width)."""
    return sum(_probability(one, size, protocol) for one in looks) / len(looks)


def _probability(one: Look, size: tuple[int, int], protocol: EvaluationSettings) -> Tensor:
    before = protocol.softmax == "before"
    map = one.logits.softmax(dim=1) if before else one.logits
    if protocol.via_input_size:
        map = _enlarge(map, one.size, align_corners=protocol.align_corners)
    map = _enlarge(map, size, align_corners=protocol.align_corners)
    return map if before else map.softmax(dim=1)


def _enlarge(map: Tensor, size: tuple[int, int], *, align_corners: bool) -> Tensor:
    return F.interpolate(map, size=size, mode="bilinear", align_corners=align_corners)
