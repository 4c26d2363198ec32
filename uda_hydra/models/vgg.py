"""VGG-16 as DeepLab dilates it. Simonyan and Zisserman, ICLR 2015; Chen et al., PAMI 2018."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from uda_hydra.models.backbone import Backbone

WIDTHS = ((1, 1), (2, 2), (4, 4, 4), (8, 8, 8), (8, 8, 8))
"""Channels of the convolutions, in multiples of the first; the last group is dilated by 2."""
POOLED = 3
"""The groups that a pooling layer follows; a fourth and a fifth would cost resolution."""


class VGG16(Backbone):
    """Thirteen convolutions, ``features``, numbered as in torchvision, then fc6 and fc7.

    The stages are the three pooled maps (strides 2, 4, 8) and the output of fc7 (stride 8).
    """

    def __init__(self, *, width: int) -> None:
        if width < 1:
            raise ValueError(f"model.width must be positive, got {width}")
        super().__init__([width, 2 * width, 4 * width, 16 * width])
        layers: list[nn.Module] = []
        self.ends: list[int] = []
        """Index in ``features`` behind each pooling layer."""
        channels = 3
        for group, factors in enumerate(WIDTHS):
            dilation = 2 if group == len(WIDTHS) - 1 else 1
            for factor in factors:
                out = factor * width
                conv = nn.Conv2d(channels, out, 3, padding=dilation, dilation=dilation)
                layers += [conv, nn.ReLU(inplace=True)]
                channels = out
            if group < POOLED:
                layers.append(nn.MaxPool2d(2))
                self.ends.append(len(layers))
            else:
                # Torchvision pools here, and its numbering shall stay.
                layers.append(nn.Identity())
        self.features = nn.Sequential(*layers)
        self.fc6 = nn.Conv2d(channels, 16 * width, 3, padding=4, dilation=4)
        self.fc7 = nn.Conv2d(16 * width, 16 * width, 3, padding=4, dilation=4)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The maps of the four stages."""
        one, two, three = self.ends
        first = self.run([self.features[:one]], image)
        second = self.run([self.features[one:two]], first)
        third = self.run([self.features[two:three]], second)
        x = self.run([self.features[three:]], third)
        return first, second, third, self.relu(self.fc7(self.relu(self.fc6(x))))
