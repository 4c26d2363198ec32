"""AdaIN style transfer (Huang and Belongie, ICCV 2017), as CFContra uses it.

Images are RGB in [0, 1], without subtraction of a mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

SMALLEST_VARIANCE = 1e-5


class AdainEncoder(nn.Module):
    """The normalised VGG-19 up to relu4_1; its maps at relu1_1, relu2_1, relu3_1 and relu4_1."""

    widths = (3, 3, 64, 64, 128, 128, 256, 256, 256, 256, 512)
    """Channels before and after each convolution; the first one is 1x1 and has no ReLU."""
    pools_after = (2, 4, 8)
    returned = (1, 3, 5, 9)
    """Convolutions whose rectified maps are returned."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3 if i else 1, padding=min(i, 1), padding_mode="reflect")
            for i, (before, after) in enumerate(pairwise(self.widths))
        )

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Maps at 1, 1/2, 1/4 and 1/8 of the size, rounded up."""
        first, *convs = self.convs
        x, maps = first(image), []
        for index, conv in enumerate(convs, start=1):
            x = F.relu(conv(x))
            if index in self.returned:
                maps.append(x)
            if index in self.pools_after:
                x = F.max_pool2d(x, 2, ceil_mode=True)
        return maps


class AdainDecoder(nn.Module):
    """From VGG features at an eighth of the size (relu4_1, 512 channels) back to an RGB image."""

    widths = (512, 256, 256, 256, 256, 128, 128, 64, 64, 3)
    doubles_after = (0, 4, 6)
    """Convolutions after which the map is enlarged."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1, padding_mode="reflect")
            for before, after in pairwise(self.widths)
        )

    def forward(self, features: Float[Tensor, "b 512 h w"]) -> Float[Tensor, "b 3 h8 w8"]:
        """An image of eight times the size."""
        *convs, last = self.convs
        x = features
        for index, conv in enumerate(convs):
            x = F.relu(conv(x))
            if index in self.doubles_after:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
        return last(x)


class Moments(NamedTuple):
    """Of every channel of every image, over its pixels."""

    mean: Float[Tensor, "b c 1 1"]
    std: Float[Tensor, "b c 1 1"]


def moments(features: Float[Tensor, "b c h w"]) -> Moments:
    """Mean, and the square root of the unbiased variance plus 1e-5."""
    variance, mean = torch.var_mean(features, dim=(2, 3), keepdim=True)
    return Moments(mean, (variance + SMALLEST_VARIANCE).sqrt())


def adain(
    content: Float[Tensor, "b c h w"], style: Float[Tensor, "b2 c h2 w2"]
) -> Float[Tensor, "b c h w"]:
    """The content's features with mean and deviation of the style's, channel by channel."""
    own, wanted = moments(content), moments(style)
    return (content - own.mean) / own.std * wanted.std + wanted.mean


def transfer(
    encoder: AdainEncoder,
    decoder: AdainDecoder,
    content: Float[Tensor, "1 3 h w"],
    styles: Sequence[Float[Tensor, "1 3 _ _"]],
    *,
    weights: Sequence[float],
    alpha: float,
) -> Float[Tensor, "1 3 _ _"]:
    """The content in a mixture of styles, whose ``weights`` add up to 1; not clamped.

    ``alpha`` in [0, 1] is the share of the style, 0 what the decoder makes of the content itself.
    """
    features = encoder(content)[-1]
    mixed = sum(
        weight * adain(features, encoder(style)[-1])
        for weight, style in zip(weights, styles, strict=True)
    )
    return decoder(alpha * mixed + (1 - alpha) * features)


class DecoderLosses(NamedTuple):
    """What the decoder is trained with; the usual weight of ``style`` is 10."""

    content: Float[Tensor, ""]
    style: Float[Tensor, ""]


def decoder_losses(
    encoder: AdainEncoder,
    decoder: AdainDecoder,
    content: Float[Tensor, "b 3 h w"],
    style: Float[Tensor, "b 3 h2 w2"],
    *,
    alpha: float = 1.0,
) -> DecoderLosses:
    """Features of the decoded image against their target, and its moments against the style's.

    The encoder is a constant, and so are the decoder's input and both targets.
    """
    with torch.no_grad():
        features, wanted = encoder(content)[-1], encoder(style)
        goal = alpha * adain(features, wanted[-1]) + (1 - alpha) * features
    maps = encoder(decoder(goal))
    differences = [
        F.mse_loss(ours, theirs)
        for one, other in zip(maps, wanted, strict=True)
        for ours, theirs in zip(moments(one), moments(other), strict=True)
    ]
    return DecoderLosses(F.mse_loss(maps[-1], goal), torch.stack(differences).sum())


def recolour(
    image: Float[Tensor, "3 h w"], colours: Float[Tensor, "3 h2 w2"]
) -> Float[Tensor, "3 h w"]:
    """The image with the colour statistics of ``colours``: CORAL (Sun et al., AAAI 2016).

    Its covariance of standardised channels becomes the other's, in float64; not clamped.
    """
    pixels, _, _ = _standardised(image)
    others, mean, std = _standardised(colours)
    whitened = _power(_second_moment(pixels), -0.5) @ pixels
    coloured = _power(_second_moment(others), 0.5) @ whitened
    return (coloured * std + mean).view(3, *image.shape[1:]).to(image.dtype)


def _standardised(image: Float[Tensor, "3 h w"]) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels (3, n) with mean 0 and deviation 1, and what these were; a constant channel is 0."""
    pixels = image.flatten(1).double()
    std, mean = torch.std_mean(pixels, dim=1, keepdim=True)
    return (pixels - mean) / std.where(std > 0, 1), mean, std


def _second_moment(pixels: Float[Tensor, "3 n"]) -> Float[Tensor, "3 3"]:
    """Of one pixel on average, so that images of different sizes compare."""
    return (pixels @ pixels.T + torch.eye(3, dtype=pixels.dtype)) / pixels.shape[1]


def _power(matrix: Float[Tensor, "3 3"], exponent: float) -> Float[Tensor, "3 3"]:
    """Of a symmetric, positive definite matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values**exponent @ vectors.T
