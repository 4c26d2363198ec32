"""DeepLabV3+ (Chen et al., ECCV 2018) as Adversarial-DA-Exp trains it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from uda_hydra.models.batch_norm import freeze, policy
from uda_hydra.models.blocks import ConvNorm
from uda_hydra.models.heads import HeadOutput
from uda_hydra.models.initialization import he_in, he_out
from uda_hydra.models.normalizations import normalization as named_normalization
from uda_hydra.models.resnet import V3PLUS_8, V3PLUS_16, ResNet
from uda_hydra.models.segmenter import Segmenter
from uda_hydra.types import upsample

LAYOUTS = {16: V3PLUS_16, 8: V3PLUS_8}
RATES = {16: (6, 12, 18), 8: (12, 24, 36)}
LOW_CHANNELS = 48


class AsppPool(nn.Module):
    """Dilated branches and the image's mean, concatenated and fused."""

    def __init__(self, channels: int, out: int, *, rates: Sequence[int]) -> None:
        super().__init__()
        branches = [ConvNorm(channels, out)]
        branches += [ConvNorm(channels, out, 3, dilation=rate) for rate in rates]
        self.branches = nn.ModuleList(branches)
        self.pool = ConvNorm(channels, out)
        self.fuse = ConvNorm(out * (len(branches) + 1), out)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """The fused map."""
        if self.training and len(x) == 1:
            raise ValueError(
                "DeepLabV3+ cannot train on one image at a time: batch norm of its image mean "
                "needs two; raise trainer.batch_size or lower trainer.accumulate"
            )
        mean = self.pool(x.mean(dim=(2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        maps = [branch(x) for branch in self.branches]
        return self.dropout(self.fuse(torch.cat([*maps, mean], dim=1)))


class DeepLabV3PlusHead(nn.Module):
    """ASPP on the last stage, refined with the details of the first."""

    def __init__(
        self, low: int, high: int, num_classes: int, *, channels: int, rates: Sequence[int]
    ) -> None:
        super().__init__()
        self.aspp = AsppPool(high, channels, rates=rates)
        self.low = ConvNorm(low, LOW_CHANNELS)
        self.refine = nn.ModuleList(
            [ConvNorm(channels + LOW_CHANNELS, channels, 3), ConvNorm(channels, channels, 3)]
        )
        self.dropouts = nn.ModuleList([nn.Dropout(0.5), nn.Dropout(0.1)])
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(
        self, first: Float[Tensor, "b c h w"], last: Float[Tensor, "b d h2 w2"]
    ) -> HeadOutput:
        """Logits at the resolution of the first stage."""
        details = self.low(first)
        x = torch.cat([upsample(self.aspp(last), first.shape[2:]), details], dim=1)
        for refine, dropout in zip(self.refine, self.dropouts, strict=True):
            x = dropout(refine(x))
        return HeadOutput(self.classifier(x), x)


def deeplabv3plus(
    *,
    num_classes: int,
    blocks: Sequence[int] = (3, 4, 23, 3),
    width: int = 64,
    output_stride: int = 16,
    head_channels: int = 256,
    normalization: str = "caffe",
    batch_norm: str = "trained",
    batch_size: int = 2,
    accumulate: int = 1,
) -> Segmenter:
    """ResNet-101 by default; there is no auxiliary head.

    ``batch_size`` and ``accumulate`` are the trainer's: one image at a time cannot be trained on.
    """
    if output_stride not in LAYOUTS:
        raise ValueError(f"model.output_stride must be 8 or 16, got {output_stride}")
    if batch_size // accumulate < 2:
        raise ValueError(
            "DeepLabV3+ needs two images at a time, for batch norm of the image's mean: "
            f"trainer.batch_size={batch_size} with trainer.accumulate={accumulate} gives fewer"
        )
    chosen = policy(batch_norm)
    backbone = ResNet(blocks=blocks, width=width, layout=LAYOUTS[output_stride], norm=chosen.layer)
    first, *_, last = backbone.channels
    head = DeepLabV3PlusHead(
        first, last, num_classes, channels=head_channels, rates=RATES[output_stride]
    )
    he_out(backbone)
    he_in(head)
    freeze(backbone, chosen)
    return Segmenter(
        backbone,
        head,
        main_reads=(0, 3),
        num_classes=num_classes,
        normalization=named_normalization(normalization),
    )
