"""Context at half the size, detail in windows of the full one. HRDA (Hoyer et al., ECCV 2022).

Both go through one backbone and one head; an attention that reads the context alone says for each
class and cell which of the two to believe.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from uda_hydra.errors import UserError
from uda_hydra.models.blocks import ConvNorm
from uda_hydra.models.daformer import FusingHead, mix_transformer
from uda_hydra.models.mit import SIZES
from uda_hydra.models.segmenter import Segmenter
from uda_hydra.models.windows import starts
from uda_hydra.types import Box, Detail, Prediction, upsample

STRIDE = 4
"""Pixels of an image for each cell of the logits."""
ALIGNED = 8
"""Windows begin at multiples of so many pixels: the size of a cell of the context."""


class TwoScales(Segmenter):
    """A segmenter seen at two scales; ``window`` is width and height of the detail, in pixels.

    Where gradients are computed, one window is drawn for the whole batch, and outside of it the
    context decides alone. Elsewhere, for pseudo labels and scores, overlapping windows cover the
    image.
    """

    def __init__(self, inner: Segmenter, attention: nn.Module, *, window: Sequence[int]) -> None:
        if len(window) != 2 or any(side <= 0 or side % (2 * STRIDE) for side in window):
            raise ValueError(
                f"model.window must be [width, height] in multiples of {2 * STRIDE}, got {window}"
            )
        super().__init__(
            inner.backbone,
            inner.main_head,
            num_classes=inner.num_classes,
            normalization=inner.normalization,
            main_reads=inner.main_reads,
        )
        self.scale_attention = attention
        self.window = (window[0], window[1])

    def context(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h2 w2"]:
        """The image at half its size."""
        return upsample(image, [side // 2 for side in image.shape[-2:]], align_corners=False)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Prediction:
        """Logits of both scales together at stride 4, features of the context.

        UserError unless both sides are multiples of 8 pixels, where the two scales' cells meet.
        """
        height, width = image.shape[-2:]
        if height % (2 * STRIDE) or width % (2 * STRIDE):
            raise UserError(
                f"this network sees images in multiples of {2 * STRIDE} pixels, not of "
                f"{width}x{height}: choose augmentation.crop=[width,height], and evaluation.size"
            )
        low = self.backbone(self.context(image))
        context = self._head(low)
        if torch.is_grad_enabled():
            box = draw_box(image.shape[-2:], self.window)
            logits = self._head(self.backbone(cut(image, box)))
            detail = Detail(logits, box)
        else:
            box = detail = None
            logits = self._everywhere(image)
        attention = self.scale_attention(*(low[i] for i in self.main_reads)).logits.sigmoid()
        main = fuse(context, logits, attention, box)
        return Prediction(main, None, low[-1], detail=detail)

    def _head(self, stages: Sequence[Tensor]) -> Float[Tensor, "b k h w"]:
        return self.main_head(*(stages[i] for i in self.main_reads)).logits

    def _everywhere(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b k h2 w2"]:
        boxes = cover(image.shape[-2:], self.window)
        logits = self._head(self.backbone(torch.cat([cut(image, box) for box in boxes])))
        return merged(logits.unflatten(0, (len(boxes), -1)), boxes, image.shape[-2:])


def draw_box(size: Sequence[int], window: tuple[int, int], *, aligned: int = ALIGNED) -> Box:
    """A window at a random place of an image of ``size`` (height, width).

    As in the release a window never reaches the far edge by its last ``aligned`` pixels.
    """
    width, height = window
    margins = size[0] - height, size[1] - width
    top, left = (
        aligned * int(torch.randint(places(margin, aligned), ())) if margin > 0 else 0
        for margin in margins
    )
    return Box(top, min(top + height, size[0]), left, min(left + width, size[1]))


def places(margin: int, aligned: int) -> int:
    """How many places a window has along a side that is ``margin`` pixels longer."""
    return max((margin + 1) // aligned, 1)


def cover(size: Sequence[int], window: tuple[int, int], *, overlap: bool = True) -> list[Box]:
    """Windows that cover an image of ``size`` (height, width) row by row, and overlap by half."""
    (width, height), part = window, 2 if overlap else 1
    return [
        Box(y, min(y + height, size[0]), x, min(x + width, size[1]))
        for y in starts(size[0], height, height // part)
        for x in starts(size[1], width, width // part)
    ]


def cut(map: Float[Tensor, "*b h w"], box: Box) -> Float[Tensor, "*b h2 w2"]:
    """What the map shows in the box."""
    return map[..., box.top : box.bottom, box.left : box.right]


def merged(
    logits: Float[Tensor, "windows b k h w"], boxes: Sequence[Box], size: Sequence[int]
) -> Float[Tensor, "b k h2 w2"]:
    """Mean logits at stride 4 of windows that cover an image of ``size`` (height, width)."""
    total = logits.new_zeros(*logits.shape[1:3], *(side // STRIDE for side in size))
    count = logits.new_zeros(total.shape[-2:])
    for own, box in zip(logits, boxes, strict=True):
        place = at_stride(box, STRIDE)
        cut(total, place).add_(own)
        cut(count, place).add_(1)
    return total / count


def at_stride(box: Box, stride: int) -> Box:
    """The box on a map with one cell for ``stride`` pixels."""
    return Box(*(side // stride for side in box))


def fuse(
    context: Float[Tensor, "b k h w"],
    detail: Float[Tensor, "b k h2 w2"],
    attention: Float[Tensor, "#b #k h w"],
    box: Box | None,
) -> Float[Tensor, "b k h3 w3"]:
    """Logits at twice the resolution of the context: where the attention is 1, those of the detail.

    ``box`` is the detail's place in the image, outside of which the attention is 0; None where
    the detail covers all of it. Eq. 9.
    """
    size = [2 * side for side in context.shape[-2:]]
    if box is not None:
        inside = torch.zeros_like(attention)
        cut(inside, at_stride(box, 2 * STRIDE)).fill_(1)
        attention = attention * inside
        place = at_stride(box, STRIDE)
        edges = (place.left, size[1] - place.right, place.top, size[0] - place.bottom)
        detail = F.pad(detail, edges)
    near = upsample(attention, size, align_corners=False) * detail
    return near + upsample((1 - attention) * context, size, align_corners=False)


def hrda_mix_transformer(
    *,
    num_classes: int,
    window: Sequence[int],
    size: str = "b5",
    head_channels: int = 256,
    drop_path: float = 0.1,
    dropout: float = 0.1,
    normalization: str = "daformer",
) -> TwoScales:
    """DAFormer's network at two scales."""
    inner = mix_transformer(
        num_classes=num_classes,
        size=size,
        head_channels=head_channels,
        drop_path=drop_path,
        dropout=dropout,
        normalization=normalization,
    )
    widths = SIZES[size].widths
    fusion = ConvNorm(head_channels * len(widths), head_channels)
    attention = FusingHead(
        widths, num_classes, channels=head_channels, fuse=fusion, dropout=dropout
    )
    return TwoScales(inner, attention, window=window)
