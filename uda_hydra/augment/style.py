"""The look of one image given to another without a network: statistics of colours, or amplitudes.

They take a source image to the style of the target and leave its labels as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
import torch
from jaxtyping import Float32, Real, UInt8
from torch import Tensor

from uda_hydra.augment.checks import check, check_probabilities
from uda_hydra.augment.training import RandomView

FLAT = 0.05
"""Deviation of a channel in Lab under which it is not stretched: a grey image has only noise."""
WINDOWS = ("symmetric", "official")
TRANSFERS = ("reinhard", "fda")


@runtime_checkable
class Restyling(Protocol):
    """An augmentation that also gives source images the style of others."""

    styles: int
    """How many style images it mixes."""

    def restyle(
        self,
        image: UInt8[Tensor, "3 h w"],
        styles: Sequence[UInt8[Tensor, "3 _ _"]],
        random: Random,
    ) -> Real[Tensor, "3 h w"]:
        """The image in the style of others, of any size: grey levels of 0 to 255.

        uint8, or float32 that may also lie outside of them.
        """


@dataclass(frozen=True, kw_only=True)
class Restyle(RandomView):
    """Source images take the look of the target image of the same step."""

    transfer: str
    """reinhard: mean and deviation of each channel in Lab; fda: low Fourier amplitudes."""
    beta: float
    """FDA: half of the window's side, as a share of the shorter side of the image."""
    window: str
    """FDA: symmetric, or the cells that the release's training replaces."""
    probability: float
    """With which an image is restyled."""
    styles = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check(
            "transfer", self.transfer in TRANSFERS, f"one of {', '.join(TRANSFERS)}", self.transfer
        )
        check("window", self.window in WINDOWS, f"one of {', '.join(WINDOWS)}", self.window)
        check("beta", 0 <= self.beta < 0.5, "in [0, 0.5)", self.beta)
        check_probabilities(probability=self.probability)

    def restyle(
        self,
        image: UInt8[Tensor, "3 h w"],
        styles: Sequence[UInt8[Tensor, "3 _ _"]],
        random: Random,
    ) -> Real[Tensor, "3 h w"]:
        """The image in the style of the first of ``styles``: of FDA float32, and not clipped."""
        if random.random() >= self.probability:
            return image
        content, style = (one.permute(1, 2, 0).numpy() for one in (image, styles[0]))
        if self.transfer == "reinhard":
            changed = reinhard(content, style)
        else:
            height, width = content.shape[:2]
            style = cv2.resize(style, (width, height), interpolation=cv2.INTER_AREA)
            changed = swap_amplitudes(content, style, beta=self.beta, window=self.window)
        return torch.from_numpy(changed).permute(2, 0, 1).contiguous()


def reinhard(
    image: UInt8[np.ndarray, "h w 3"], style: UInt8[np.ndarray, "h2 w2 3"]
) -> UInt8[np.ndarray, "h w 3"]:
    """The image with the mean and the deviation of each CIELAB channel of ``style``.

    Colour transfer as of Reinhard et al. (2001), in Lab from sRGB (D65) in place of their l-alpha-
    beta. A channel that hardly varies is shifted but not stretched.
    """
    lab, other = (
        cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for rgb in (image, style)
    )
    (mean, deviation), (wanted, spread) = (
        [moment[:, 0].astype(np.float32) for moment in cv2.meanStdDev(one)] for one in (lab, other)
    )
    flat = deviation < FLAT
    ratio = np.where(flat, 1, spread / np.where(flat, 1, deviation)).astype(np.float32)
    moved = (lab - mean) * ratio + wanted
    rgb = cv2.cvtColor(moved, cv2.COLOR_LAB2RGB).clip(0, 1)
    return (rgb * 255).round().astype(np.uint8)


def swap_amplitudes(
    image: Real[np.ndarray, "h w 3"],
    style: Real[np.ndarray, "h w 3"],
    *,
    beta: float,
    window: str = "symmetric",
) -> Float32[np.ndarray, "h w 3"]:
    """The image with low Fourier amplitudes of ``style`` and its own phases, neither clipped.

    FDA (Yang and Soatto, CVPR 2020). With b = floor(beta * the shorter side), the frequencies
    -b..b in both directions are replaced. ``official`` are those that the release's training
    replaces: -b..b-1 vertically and 0..b-1 of the half that its inverse reads horizontally.
    """
    height, width = image.shape[:2]
    b = int(beta * min(height, width))
    spectrum, other = (np.fft.rfft2(one.astype(np.float32), axes=(0, 1)) for one in (image, style))
    last = b if window == "symmetric" else b - 1
    # Negative frequencies lie at the end; the other half of the columns follows from this one.
    rows = np.arange(-b, last + 1) % height
    cells = np.ix_(rows, np.arange(last + 1))
    spectrum[cells] = np.abs(other[cells]) * np.exp(1j * np.angle(spectrum[cells]))
    return np.fft.irfft2(spectrum, s=(height, width), axes=(0, 1)).astype(np.float32)
