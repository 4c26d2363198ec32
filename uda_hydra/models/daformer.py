"""Mix Transformers with the heads of SegFormer (NeurIPS 2021) and DAFormer (CVPR 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from uda_hydra.models.blocks import ConvNorm, PixelLinear
from uda_hydra.models.depthwise import speed_up_depthwise
from uda_hydra.models.heads import HeadOutput
from uda_hydra.models.initialization import he_out
from uda_hydra.models.mit import SIZES, MixTransformer
from uda_hydra.models.normalizations import normalization as named_normalization
from uda_hydra.models.segmenter import Segmenter
from uda_hydra.types import upsample

DILATIONS = (6, 12, 18)


class Separable(nn.Module):
    """A dilated 3x3 convolution of each channel alone, then a 1x1 convolution."""

    def __init__(self, channels: int, out: int, *, dilation: int) -> None:
        super().__init__()
        self.depthwise = ConvNorm(channels, channels, 3, dilation=dilation, groups=channels)
        self.pointwise = ConvNorm(channels, out)
        speed_up_depthwise(self)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """The map with new channels."""
        return self.pointwise(self.depthwise(x))


class SeparableAspp(nn.Module):
    """DAFormer's fusion: context from a 1x1 and three dilated separable convolutions."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        dilated = [Separable(channels, out, dilation=dilation) for dilation in DILATIONS]
        self.branches = nn.ModuleList([ConvNorm(channels, out), *dilated])
        self.bottleneck = ConvNorm(out * len(self.branches), out, 3)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """The fused map."""
        return self.bottleneck(torch.cat([branch(x) for branch in self.branches], dim=1))


class FusingHead(nn.Module):
    """Embeds all stages, resizes them to the first, fuses them and classifies."""

    def __init__(
        self,
        stages: Sequence[int],
        num_classes: int,
        *,
        channels: int,
        fuse: nn.Module,
        dropout: float,
    ) -> None:
        super().__init__()
        self.embed = nn.ModuleList(PixelLinear(width, channels) for width in stages)
        self.fuse = fuse
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        he_out(self.fuse)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, *stages: Float[Tensor, "b _ _ _"]) -> HeadOutput:
        """Logits at the resolution of the first stage."""
        size = stages[0].shape[2:]
        maps = [
            upsample(embed(stage), size, align_corners=False)
            for embed, stage in zip(self.embed, stages, strict=True)
        ]
        feature = self.dropout(self.fuse(torch.cat(maps, dim=1)))
        return HeadOutput(self.classifier(feature), feature)


HEADS = ("daformer", "segformer")


def mix_transformer(
    *,
    num_classes: int,
    size: str = "b5",
    head: str = "daformer",
    head_channels: int = 256,
    drop_path: float = 0.1,
    dropout: float = 0.1,
    normalization: str = "daformer",
) -> Segmenter:
    """A Mix Transformer of one of ``mit.SIZES`` with the head of DAFormer or of SegFormer.

    Norms have no weight decay.
    """
    if size not in SIZES:
        raise ValueError(f"model.size must be one of {', '.join(SIZES)}, got {size!r}")
    if head not in HEADS:
        raise ValueError(f"model.head must be one of {', '.join(HEADS)}, got {head!r}")
    widths, depths = SIZES[size]
    backbone = MixTransformer(widths=widths, depths=depths, drop_path=drop_path)
    joined = head_channels * len(widths)
    aspp = head == "daformer"
    fuse = SeparableAspp(joined, head_channels) if aspp else ConvNorm(joined, head_channels)
    _initialize(backbone)
    return Segmenter(
        backbone,
        FusingHead(widths, num_classes, channels=head_channels, fuse=fuse, dropout=dropout),
        main_reads=(0, 1, 2, 3),
        num_classes=num_classes,
        normalization=named_normalization(normalization),
    )


def _initialize(backbone: nn.Module) -> None:
    """Draw SegFormer's initial values, from before its training on ImageNet."""
    for module in backbone.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
            nn.init.normal_(module.weight, std=(2 / fan_out) ** 0.5)
            nn.init.zeros_(module.bias)
