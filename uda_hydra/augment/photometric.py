"""Changes of colour and sharpness of float images: they move no pixel, so labels stay.

Draws are arguments, so every function is pure. What torchvision does as a release does is called
there by its users: ``adjust_brightness`` and its kind, ``rgb_to_grayscale``, ``gaussian_blur``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


class Jitter(NamedTuple):
    """Factors of one image's colour jitter; ``hue`` is a shift in full turns."""

    brightness: float
    contrast: float
    saturation: float
    hue: float
    order: tuple[int, ...]
    """In which order they act: 0 brightness, 1 contrast, 2 saturation, 3 hue."""


def draw_jitter(strength: float, hue: float, random: Random) -> Jitter:
    """Factors in 1 - ``strength`` to 1 + ``strength``, a hue in -``hue`` to ``hue``, any order."""
    factors = [random.uniform(1 - strength, 1 + strength) for _ in range(3)]
    turn = random.uniform(-hue, hue)
    return Jitter(*factors, turn, tuple(random.sample(range(4), 4)))


def brighten(image: Float[Tensor, "b 3 h w"], factor: float) -> Float[Tensor, "b 3 h w"]:
    """A shift by ``factor`` - 1, as kornia 0.5.8 has it; torchvision multiplies."""
    return (image + (factor - 1)).clamp(0, 1)


def change_contrast(image: Float[Tensor, "b 3 h w"], factor: float) -> Float[Tensor, "b 3 h w"]:
    """A product with ``factor``: kornia 0.5.8 subtracts no mean."""
    return (image * factor).clamp(0, 1)


def saturate(image: Float[Tensor, "b 3 h w"], factor: float) -> Float[Tensor, "b 3 h w"]:
    """The saturation of HSV times ``factor``."""
    hue, saturation, value = _hsv(image)
    return _rgb(hue, (saturation * factor).clamp(0, 1), value)


def turn_hue(image: Float[Tensor, "b 3 h w"], turns: float) -> Float[Tensor, "b 3 h w"]:
    """The hue of HSV moved by ``turns``; 1 is a full circle."""
    hue, saturation, value = _hsv(image)
    return _rgb(hue + turns, saturation, value)


_CHANGES: tuple[Callable[[Tensor, float], Tensor], ...] = (
    brighten,
    change_contrast,
    saturate,
    turn_hue,
)


def jitter(image: Float[Tensor, "b 3 h w"], chosen: Sequence[Jitter]) -> Float[Tensor, "b 3 h w"]:
    """Images in [0, 1], each with its own colour jitter: that of kornia 0.5.8, as in DACS."""
    return torch.cat(
        [_jittered(one[None], factors) for one, factors in zip(image, chosen, strict=True)]
    )


def jitter_normalised(
    image: Float[Tensor, "b 3 h w"],
    chosen: Sequence[Jitter],
    *,
    mean: Sequence[float],
    std: Sequence[float],
) -> Float[Tensor, "b 3 h w"]:
    """``jitter`` of images that are (grey level - ``mean``) / ``std``, channel by channel.

    The first channel is taken for red: DACS's own code jitters BGR images like that.
    """
    levels = [
        plane * s + m for plane, m, s in zip(image.unbind(1), map(float, mean), std, strict=True)
    ]
    planes = jitter(torch.stack(levels, dim=1) / 255, chosen).unbind(1)
    return torch.stack(
        [(plane * 255 - m) / s for plane, m, s in zip(planes, mean, std, strict=True)], dim=1
    )


def blur_length(side: int) -> int:
    """Taps of DACS's Gaussian kernel along a side of so many pixels: odd, a tenth of them."""
    taps = math.ceil(0.1 * side)
    return taps if taps % 2 else taps - 1


def blur_kernel(length: int, sigma: float) -> list[float]:
    """A Gaussian at whole pixels, of sum 1."""
    weights = [math.exp(-0.5 * ((i - length // 2) / sigma) ** 2) for i in range(length)]
    return [weight / sum(weights) for weight in weights]


def blur(image: Float[Tensor, "b c h w"], sigma: float) -> Float[Tensor, "b c h w"]:
    """Gaussian blur with reflected borders and kernels of ``blur_length``, as in DACS."""
    for axis in (2, 3):
        length = blur_length(image.shape[axis])
        # Taps that weigh less than 1e-12 of the whole are spared.
        reach = min(length // 2, math.ceil(7.5 * sigma))
        weights = blur_kernel(length, sigma)[length // 2 - reach : length // 2 + reach + 1]
        pad = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        wide, side = F.pad(image, pad, mode="reflect"), image.shape[axis]
        image = weights[0] * wide.narrow(axis, 0, side)
        for i, weight in enumerate(weights[1:], start=1):
            image.add_(wide.narrow(axis, i, side), alpha=weight)
    return image


SHUFFLES = {
    # CaCo's release means to permute, but overwrites channels it still has to read.
    "official": ((0, 1, 2), (2, 2, 2), (1, 2, 1)),
    "permute": ((0, 1, 2), (2, 0, 1), (1, 2, 0)),
}
"""Channel orders by kind; each image gets one of the three with equal chance."""


def shuffle_channels(
    image: Float[Tensor, "b 3 h w"], choices: Sequence[int], kind: str
) -> Float[Tensor, "b 3 h w"]:
    """Each image with its channels in the order that ``choices`` names, see ``SHUFFLES``."""
    orders = [SHUFFLES[kind][choice] for choice in choices]
    return torch.stack(
        [torch.stack([one[c] for c in order]) for one, order in zip(image, orders, strict=True)]
    )


def _jittered(image: Float[Tensor, "1 3 h w"], chosen: Jitter) -> Float[Tensor, "1 3 h w"]:
    for number in chosen.order:
        image = _CHANGES[number](image, chosen[number])
    return image


def _hsv(image: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, Tensor, Tensor]:
    """Hue in turns, saturation and value; of equal channels the first is the largest."""
    red, green, blue = image.unbind(1)
    value = image.amax(1)
    spread = value - image.amin(1)
    safe = spread.where(spread > 0, torch.ones_like(spread))
    sector = torch.where(
        red == value,
        (green - blue) / safe,
        torch.where(green == value, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    # The term in the denominator is the release's, for black pixels.
    return (sector / 6) % 1, spread / (value + 1e-6), value


def _rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Float[Tensor, "b 3 h w"]:
    def channel(shift: int) -> Tensor:
        angle = (shift + hue * 6) % 6
        return value - value * saturation * torch.minimum(angle, 4 - angle).clamp(0, 1)

    return torch.stack([channel(5), channel(3), channel(1)], dim=1)
