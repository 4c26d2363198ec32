"""Source images in the style of others by AdaIN: CFContra's coarse alignment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from uda_hydra.augment.checks import check
from uda_hydra.augment.resize import resize_image
from uda_hydra.augment.training import RandomView
from uda_hydra.models.adain import AdainDecoder, AdainEncoder, recolour, transfer
from uda_hydra.models.checkpoints.loading import load_weights


@dataclass(frozen=True, kw_only=True)
class AdainRestyle(RandomView):
    """Gives source images a mixture of styles, in equal parts."""

    encoder: str | None
    """File with the normalised VGG-19."""
    decoder: str | None
    """File with the decoder."""
    styles: int
    """How many style images are mixed; in training there is one, the target image of the step."""
    alpha: float
    """Share of the style, in [0, 1]."""
    preserve_color: bool
    """Give the style images the content's colours first."""
    size: list[int] | None
    """Width and height at which images are transferred; None: their own. The result is always of
    the content's size, as its label is."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("encoder", "decoder"):
            path = getattr(self, name)
            there = path is not None and Path(path).is_file()
            check(name, there, "a file of weights", f"{path}; augmentation=restyle needs none")
        check("alpha", 0 <= self.alpha <= 1, "in [0, 1]", self.alpha)
        check("styles", self.styles >= 1, "1 or more", self.styles)
        fits = self.size is None or (len(self.size) == 2 and min(self.size) >= 16)
        check("size", fits, "[width, height], 16 or more, or null", self.size)

    @cached_property
    def networks(self) -> tuple[AdainEncoder, AdainDecoder]:
        """Encoder and decoder with their weights, read once in each process."""
        found = AdainEncoder(), AdainDecoder()
        for network, path in zip(found, (self.encoder, self.decoder), strict=True):
            load_weights(network.requires_grad_(False).eval(), path)
        return found

    @torch.no_grad()
    def restyle(
        self,
        image: UInt8[Tensor, "3 h w"],
        styles: Sequence[UInt8[Tensor, "3 _ _"]],
        random: Random,
    ) -> UInt8[Tensor, "3 h w"]:
        """The image in a mixture of all ``styles``, rounded to 8 bits."""
        content = self._input(image)
        others = [self._input(style) for style in styles]
        if self.preserve_color:
            others = [recolour(other[0], content[0])[None] for other in others]
        weights = [1 / len(others)] * len(others)
        drawn = transfer(*self.networks, content, others, weights=weights, alpha=self.alpha)
        height, width = content.shape[-2:]
        pixels = (drawn[0, :, :height, :width].clamp(0, 1) * 255).round().byte()
        return _resized(pixels, (image.shape[2], image.shape[1]))

    def _input(self, image: UInt8[Tensor, "3 h w"]) -> Float[Tensor, "1 3 h2 w2"]:
        resized = image if self.size is None else _resized(image, (self.size[0], self.size[1]))
        return resized[None].float() / 255


def _resized(image: UInt8[Tensor, "3 h w"], size: tuple[int, int]) -> UInt8[Tensor, "3 h2 w2"]:
    if (image.shape[2], image.shape[1]) == size:
        return image
    pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    return torch.from_numpy(resize_image(pixels, size, filter="bilinear")).permute(2, 0, 1)
