"""The nouns everyone shares: what a step is fed, what a segmenter returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Integer, Real
from torch import Tensor, nn

IGNORE = 255
"""The label of a pixel that takes part in no loss and no score."""

SUFFIX = {"main": "", "aux": "_aux"}
"""What the name of a head's loss term ends with."""


class Resize(NamedTuple):
    """To a size in pixels."""

    width: int
    height: int


class Crop(NamedTuple):
    """A window, whose upper left pixel is (x, y); what lies outside the picture is filled."""

    x: int
    y: int
    width: int
    height: int


class Mirror(NamedTuple):
    """Left and right exchanged."""


class Rotate(NamedTuple):
    """About the centre, counter-clockwise."""

    degrees: float


class Shear(NamedTuple):
    """Output pixel (i, j) shows what was at (i + x * j, j + y * i)."""

    x: float
    y: float


class Translate(NamedTuple):
    """Output pixel (i, j) shows what was at (i + x, j + y), in pixels."""

    x: int
    y: int


class CutOut(NamedTuple):
    """A rectangle without content: columns x0 to x1 - 1, rows y0 to y1 - 1."""

    x0: int
    y0: int
    x1: int
    y1: int


Operation = Resize | Crop | Mirror | Rotate | Shear | Translate | CutOut


@dataclass(frozen=True)
class View:
    """How a picture of ``size`` (width, height) is seen: operations in their order, drawn once.

    One function, ``augment.warp``, applies it to images, labels, soft labels and feature maps.
    """

    size: tuple[int, int]
    operations: tuple[Operation, ...] = ()


class Step(NamedTuple):
    """Where a training is: ``number`` steps are done, of all steps the share ``progress``."""

    number: int
    progress: float


class Source(NamedTuple):
    """A labelled batch of the source domain; ``image`` is normalised, ``key`` names the samples."""

    image: Float[Tensor, "b 3 h w"]
    label: Int[Tensor, "b h w"]
    key: tuple[str, ...] = ()
    view: tuple[View, ...] = ()
    """From each sample's picture, as the loader reads it (from the cache at the training size), to
    ``image``."""


class Target(NamedTuple):
    """An unlabelled batch of the target domain. It has no label field and never will."""

    image: Float[Tensor, "b 3 h w"]
    key: tuple[str, ...] = ()
    view: tuple[View, ...] = ()
    """From each sample's picture, as the loader reads it (from the cache at the training size), to
    ``image``."""
    strong: Float[Tensor, "b 3 h w"] | None = None
    """A strong variation of ``image``, where the augmentation makes one."""
    strong_view: tuple[View, ...] = ()
    """From ``image`` to ``strong``."""
    whole: Float[Tensor, "b 3 _ _"] | None = None
    """The whole pictures, where the augmentation keeps them."""
    stored: Mapping[str, Tensor] = {}
    """What passes have stored of these samples, by name, seen as ``image`` is."""
    plain: Target | None = None
    """The samples in another view, not recoloured, where the augmentation makes one."""


class Box(NamedTuple):
    """A part of an image: rows top to bottom - 1, columns left to right - 1."""

    top: int
    bottom: int
    left: int
    right: int


class Detail(NamedTuple):
    """What a network says of a part of the image that it sees at a higher resolution."""

    logits: Float[Tensor, "b k h w"]
    box: Box


class Prediction(NamedTuple):
    """What a segmenter returns, at feature resolution: logits of both heads, last features.

    What a network does not have is None.
    """

    main: Float[Tensor, "b k h w"]
    aux: Float[Tensor, "b k h w"] | None
    features: Float[Tensor, "b d _ _"]
    head_feature: Float[Tensor, "b e h w"] | None = None
    """What the main head's last convolution classifies."""
    projection: Float[Tensor, "b p _ _"] | None = None
    """Of the features, for contrast."""
    stages: tuple[Tensor, ...] | None = None
    """The backbone's maps, if the segmenter keeps them."""
    detail: Detail | None = None
    """Of a part of the image, for a loss of its own."""


def upsample(
    map: Float[Tensor, "b c h w"], size: Sequence[int], *, align_corners: bool = True
) -> Float[Tensor, "b c h2 w2"]:
    """Resize to (height, width): bilinear, with corners aligned except in DAFormer and its kin."""
    if map.shape[-2:] == torch.Size(size):
        return map
    return F.interpolate(map, size=tuple(size), mode="bilinear", align_corners=align_corners)


def shrink_label(label: Integer[Tensor, "b h w"], size: tuple[int, int]) -> Int[Tensor, "b h2 w2"]:
    """The label at (height, width): cell i reads pixel floor(i * in / out), as in the releases."""
    # Labels below 2^24 are exact in float32, which nearest neighbours need on the CPU.
    small = F.interpolate(label[:, None].float(), size=tuple(size), mode="nearest")
    return small[:, 0].long()


class Normalization(NamedTuple):
    """How RGB of 0 to 255 becomes a network's input: channel order, then (x * scale - mean) / std.

    ``mean`` and ``std`` are in the order of ``channels`` ("rgb" or "bgr"), after scaling.
    """

    channels: str
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, image: Real[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """Float32 on the image's own device."""
        planes = image.float().unbind(1)
        planes = planes[::-1] if self.channels == "bgr" else planes
        # Plane by plane with plain numbers: a tensor of means would be copied to the device.
        return torch.stack(
            [
                (plane * self.scale - mean) / std
                for plane, mean, std in zip(planes, self.mean, self.std, strict=True)
            ],
            dim=1,
        )


@runtime_checkable
class Predictor(Protocol):
    """A module that is evaluated: a segmenter, a method around one, an ensemble, a teacher."""

    @property
    def normalization(self) -> Normalization:
        """How uint8 RGB becomes its input."""

    def predict(self, image: Tensor, *, aux_weight: float = 0.0) -> Tensor:
        """Logits (b, classes, h, w) of a normalised image, at any resolution, in eval mode.

        ``aux_weight`` times those of the auxiliary head are added where it is not 0.
        """

    def eval(self) -> nn.Module:
        """Switch to eval mode."""

    def modules(self) -> Iterator[nn.Module]:
        """Itself and every module in it."""
