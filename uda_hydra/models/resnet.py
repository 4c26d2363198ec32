"""Residual networks of bottleneck blocks, dilated for segmentation. He et al., CVPR 2016."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from uda_hydra.models.backbone import Backbone

EXPANSION = 4
"""A block's output is this many times wider than its inner convolutions."""
Norm = Callable[[int], nn.Module]


class ResNetLayout(NamedTuple):
    """Where a family of ResNets strides and dilates."""

    ceil_mode: bool
    """Round the size after max pooling up: 8n input pixels give n + 1 cells, corners aligned."""
    stride_in_first: bool
    """The stride sits in a block's first 1x1 convolution, not in its 3x3."""
    strides: tuple[int, int, int, int]
    """Stride of the first block of each stage."""
    dilations: tuple[tuple[int, ...], ...]
    """Dilations of the blocks of each stage in order; the last entry serves all later blocks."""
    deep_stem: bool = False
    """Three 3x3 convolutions in place of one 7x7."""
    repeated: bool = False
    """The release's optimiser lists most parameters several times."""


CAFFE = ResNetLayout(
    True, True, strides=(1, 2, 1, 1), dilations=((1,), (1,), (2,), (4,)), repeated=True
)
"""AdaptSegNet, ADVENT, CaCo, CFContra, ProDA, MaxSquare."""
TORCHVISION = ResNetLayout(
    False, False, strides=(1, 2, 1, 1), dilations=((1,), (1,), (1, 2), (2, 4))
)
"""ProCA."""
V1C = TORCHVISION._replace(deep_stem=True)
"""DAFormer's DeepLabV2."""
V3PLUS_16 = ResNetLayout(
    False, False, strides=(1, 2, 2, 1), dilations=((1,), (1,), (1,), (2, 4, 8))
)
"""DeepLabV3+ of Adversarial-DA-Exp, output stride 16."""
V3PLUS_8 = ResNetLayout(
    False, False, strides=(1, 2, 1, 1), dilations=((1,), (1,), (2,), (4, 8, 16))
)
"""The same with output stride 8."""


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a shortcut."""

    def __init__(
        self,
        channels: int,
        width: int,
        *,
        first: bool,
        stride: int,
        dilation: int,
        layout: ResNetLayout,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        early, late = (stride, 1) if layout.stride_in_first else (1, stride)
        out = width * EXPANSION
        self.conv1 = nn.Conv2d(channels, width, 1, stride=early, bias=False)
        self.bn1 = norm(width)
        self.conv2 = nn.Conv2d(
            width, width, 3, stride=late, padding=dilation, dilation=dilation, bias=False
        )
        self.bn2 = norm(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = norm(out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if first:
            shortcut = nn.Conv2d(channels, out, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(shortcut, norm(out))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        """The block's output after its last ReLU."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(Backbone):
    """Stem and four stages, named as in torchvision; ``width`` is the stem's."""

    def __init__(
        self,
        *,
        blocks: Sequence[int],
        width: int,
        layout: ResNetLayout,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        if len(blocks) != 4 or min(blocks) < 1:
            raise ValueError(f"model.blocks must be four positive numbers, got {list(blocks)}")
        if width < 1 or (layout.deep_stem and width % 2):
            raise ValueError(f"model.width must be positive (V1c: and even), got {width}")
        super().__init__([width * 2**stage * EXPANSION for stage in range(4)])
        self.repeated = layout.repeated
        self.deep = layout.deep_stem
        if self.deep:
            self.stem = _deep_stem(width, norm)
        else:
            self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
            self.bn1 = norm(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=layout.ceil_mode)
        before = (width, *self.channels)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            _stage(before[i], width * 2**i, blocks[i], i, layout, norm) for i in range(4)
        )

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The maps of the four stages."""
        x = self.stem(image) if self.deep else self.relu(self.bn1(self.conv1(image)))
        first = self.run(self.layer1, self.maxpool(x))
        second = self.run(self.layer2, first)
        third = self.run(self.layer3, second)
        return first, second, third, self.run(self.layer4, third)

    def repeats(self, name: str) -> int:
        """How often the releases' optimiser lists the parameter ``name``.

        Their Caffe-style loop walks modules inside modules, so a block's parameters come three
        times, a shortcut's four times and the stem's once.
        """
        if not self.repeated or not name.startswith("layer"):
            return 1
        return 4 if ".downsample." in name else 3


def _deep_stem(width: int, norm: Norm) -> nn.Sequential:
    stem, channels = [], 3
    for stride, out in ((2, width // 2), (1, width // 2), (1, width)):
        conv = nn.Conv2d(channels, out, 3, stride=stride, padding=1, bias=False)
        stem += [conv, norm(out), nn.ReLU(inplace=True)]
        channels = out
    return nn.Sequential(*stem)


def _stage(
    channels: int, width: int, blocks: int, index: int, layout: ResNetLayout, norm: Norm
) -> nn.Sequential:
    dilations = layout.dilations[index]
    stage = []
    for i in range(blocks):
        block = Bottleneck(
            channels,
            width,
            first=i == 0,
            stride=layout.strides[index] if i == 0 else 1,
            dilation=dilations[min(i, len(dilations) - 1)],
            layout=layout,
            norm=norm,
        )
        stage.append(block)
        channels = width * EXPANSION
    return nn.Sequential(*stage)
