"""A backbone of timm with one of our heads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from uda_hydra.models.batch_norm import policy
from uda_hydra.models.blocks import ConvNorm
from uda_hydra.models.daformer import FusingHead, Separable, SeparableAspp
from uda_hydra.models.heads import AsppSum, HeadOutput
from uda_hydra.models.initialization import gaussian, he_out
from uda_hydra.models.segmenter import Segmenter
from uda_hydra.models.timm_backbone import TimmBackbone
from uda_hydra.models.tokens import EnlargingHead
from uda_hydra.types import upsample

SKIP_STRIDE = 4
SKIP_CHANNELS = 48


class PlainHead(nn.Module):
    """A 1x1 convolution of the last map and a classifier.

    With ``skip`` channels the finer map that has them is joined between the two, as DeepLabV3+ does
    it, by a separable convolution; logits are at its resolution.
    """

    def __init__(
        self, channels: int, num_classes: int, *, out: int, skip: int | None, dropout: float
    ) -> None:
        super().__init__()
        self.reduce = ConvNorm(channels, out)
        self.low = None
        if skip is not None:
            self.low = ConvNorm(skip, SKIP_CHANNELS)
            self.refine = Separable(out + SKIP_CHANNELS, out, dilation=1)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(out, num_classes, 1)
        he_out(self.reduce, self.low)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(
        self, last: Float[Tensor, "b c h w"], fine: Float[Tensor, "b d h2 w2"] | None = None
    ) -> HeadOutput:
        """Logits at the resolution of the finest map given."""
        x = self.reduce(last)
        if fine is not None:
            x = self.refine(torch.cat([upsample(x, fine.shape[2:]), self.low(fine)], dim=1))
        x = self.dropout(x)
        return HeadOutput(self.classifier(x), x)


HEADS = ("deeplabv2", "daformer", "segformer", "plain", "enlarging")
"""What ``model.head`` may name."""
FUSIONS: dict[str, Callable[[int, int], nn.Module]] = {
    "daformer": SeparableAspp,
    "segformer": ConvNorm,
}
"""How the heads that read all stages fuse them."""


def timm_segmenter(
    *,
    num_classes: int,
    backbone: str,
    head: str = "deeplabv2",
    output_stride: int | None = None,
    multi_level: bool = False,
    active_branches: int = 4,
    skip: bool = False,
    head_channels: int = 256,
    dropout: float = 0.1,
    drop_path: float = 0.0,
    batch_norm: str = "trained",
    magnify: float = 1.0,
    mask_token: bool = False,
) -> Segmenter:
    """The network ``backbone`` of timm with one of ``HEADS``; the input is normalised as timm does.

    ``multi_level`` and ``active_branches`` are DeepLabV2's: an auxiliary head on the third stage,
    as on ResNet's, and how many dilations are summed. ``skip`` is the plain head's: it also reads
    the map of stride 4. DAFormer's and SegFormer's heads read all stages. ``head_channels`` and
    ``dropout`` are for all but DeepLabV2's and the enlarging one. ``magnify`` and ``mask_token``
    are the backbone's.
    """
    if head not in HEADS:
        raise ValueError(f"model.head must be one of {', '.join(HEADS)}, got {head!r}")
    if multi_level and head != "deeplabv2":
        raise ValueError("model.multi_level must be false: only model.head=deeplabv2 has two heads")
    if skip and head != "plain":
        raise ValueError("model.skip must be false: only model.head=plain has the option")
    body = TimmBackbone(
        backbone,
        output_stride=output_stride,
        drop_path=drop_path,
        batch_norm=policy(batch_norm),
        magnify=magnify,
        mask_token=mask_token,
    )
    *_, third, last = body.channels
    aux, reads = None, (3,)
    if head == "deeplabv2":
        make = partial(AsppSum, num_classes=num_classes, active_branches=active_branches)
        main, aux = make(last), make(third) if multi_level else None
        _check_levels(body, multi_level)
        gaussian(main, aux)
    elif head == "enlarging":
        main = EnlargingHead(last, num_classes)
    elif head == "plain":
        fine = _fine(body) if skip else None
        reads = (3,) if fine is None else (3, fine)
        width = None if fine is None else body.channels[fine]
        main = PlainHead(last, num_classes, out=head_channels, skip=width, dropout=dropout)
    else:
        reads = (0, 1, 2, 3)
        fuse = FUSIONS[head](sum(head_channels for _ in reads), head_channels)
        main = FusingHead(
            body.channels, num_classes, channels=head_channels, fuse=fuse, dropout=dropout
        )
    return Segmenter(
        body,
        main,
        aux,
        main_reads=reads,
        num_classes=num_classes,
        normalization=body.normalization,
    )


def _check_levels(body: TimmBackbone, multi_level: bool) -> None:
    """Both heads must have cells of one size, for their logits are summed at evaluation."""
    if multi_level and body.strides[2] != body.strides[3]:
        raise ValueError(
            f"model.multi_level must be false: the third stage of {body.name} has stride "
            f"{body.strides[2]} and the fourth {body.strides[3]}; or lower model.output_stride"
        )


def _fine(body: TimmBackbone) -> int:
    """The index of the stage that has stride 4."""
    if SKIP_STRIDE not in body.strides:
        raise ValueError(
            f"model.skip must be false: {body.name} has no map of stride {SKIP_STRIDE}, only "
            f"{', '.join(map(str, body.strides))}"
        )
    return body.strides.index(SKIP_STRIDE)
