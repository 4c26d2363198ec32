"""Views of the target that its pseudo labels help to choose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Protocol, runtime_checkable

from jaxtyping import UInt8
from torch import Tensor

from uda_hydra.augment.checks import check, check_probabilities, check_ranges, check_sizes
from uda_hydra.augment.picture import from_pillow, to_pillow
from uda_hydra.augment.policies import auto_augment
from uda_hydra.augment.training import (
    AS_THEY_ARE,
    RandomView,
    TargetView,
    Unvaried,
    scaled,
    size_of,
)
from uda_hydra.augment.view import first_accepted
from uda_hydra.augment.warp import warp
from uda_hydra.types import IGNORE, Crop, Mirror, Resize, View

_DRAWS = 10


@runtime_checkable
class Guided(Protocol):
    """An augmentation that looks at pseudo labels, where the method has stored some."""

    guide: str
    """Which ones, by the name that ``Method.stored`` gives them."""

    def guided(
        self,
        image: UInt8[Tensor, "3 h w"],
        label: UInt8[Tensor, "h2 w2"],
        size: tuple[int, int],
        random: Random,
    ) -> TargetView:
        """An unlabelled image, varied; its pseudo label may be of any size."""


@dataclass(frozen=True)
class VariedCrop(Unvaried):
    """A crop of the rescaled target that shows many classes: CaCo's retraining, Seg-Uncertainty.

    It is drawn again, ten times in all, until its pseudo labels have more than ``min_values``
    values, the ignored one included. The source is seen as it is.
    """

    base: float
    """Factor of the training size, which gives the size that ``scale_range`` refers to."""
    scale_range: list[float]
    crop: list[int]
    """Width and height."""
    min_values: int
    mirror: float
    """Probability of exchanging left and right."""
    recolour: bool
    """AutoAugment without its geometry, of the rescaled image."""
    plain: bool
    """Also the crop of the image at ``base`` at the same place, not recoloured, for a teacher."""
    whole: bool
    """Also the whole image at its training size."""
    guide = "labels"
    from_file = ("target",)

    def __post_init__(self) -> None:
        check_sizes(crop=self.crop)
        check_ranges(scale_range=self.scale_range)
        check("base", self.base > 0, "above 0", self.base)
        check_probabilities(mirror=self.mirror)

    def uncropped(self, domain: str, size: tuple[int, int]) -> tuple[int, int] | None:
        """The largest random size of the target."""
        return scaled(scaled(size, self.base), self.scale_range[1]) if domain == "target" else None

    def target(
        self, image: UInt8[Tensor, "3 h w"], size: tuple[int, int], random: Random
    ) -> TargetView:
        """The first crop: no label says what it shows."""
        return self._seen(image, None, size, random)

    def guided(
        self,
        image: UInt8[Tensor, "3 h w"],
        label: UInt8[Tensor, "h2 w2"],
        size: tuple[int, int],
        random: Random,
    ) -> TargetView:
        """The first crop that shows enough classes."""
        return self._seen(image, label, size, random)

    def _seen(
        self,
        image: UInt8[Tensor, "3 h w"],
        label: UInt8[Tensor, "h2 w2"] | None,
        size: tuple[int, int],
        random: Random,
    ) -> TargetView:
        own = size_of(image)
        base = scaled(size, self.base)
        scale = random.uniform(*self.scale_range)
        drawn = max(1, round(base[0] * scale)), max(1, round(base[1] * scale))
        crop = self._crop(label, View(own, (Resize(*drawn),)), random)
        turn = (Mirror(),) if random.random() < self.mirror else ()

        picture = warp(image, View(own, (Resize(*drawn),)), kind="image")
        if self.recolour:
            # Of the whole image, whose histogram decides what some operations do.
            picture = from_pillow(auto_augment(to_pillow(picture), random))
        plain = None
        if self.plain:
            view = View(own, (Resize(*base), moved_crop(crop, drawn, base), *turn))
            plain = TargetView(warp(image, view, kind="image"), view)
        return TargetView(
            warp(picture, View(drawn, (crop, *turn)), kind="image"),
            View(own, (Resize(*drawn), crop, *turn)),
            whole=AS_THEY_ARE.target(image, size, random).image if self.whole else None,
            plain=plain,
        )

    def _crop(self, label: UInt8[Tensor, "h2 w2"] | None, view: View, random: Random) -> Crop:
        (shown,) = view.operations
        places = [max(0, have - want) for have, want in zip(shown, self.crop, strict=True)]

        def tries() -> Iterator[Crop]:
            for _ in range(_DRAWS):
                x, y = (random.randint(0, place) for place in places)
                yield Crop(x, y, self.crop[0], self.crop[1])

        if label is None:
            return next(tries())
        seen = warp(label, view, kind="label")
        return first_accepted(
            tries(), lambda crop: len(_window(seen, crop).unique()) > self.min_values
        )


@dataclass(frozen=True, kw_only=True)
class MinedCrop(RandomView):
    """Random sizes and crops, of the target often around something small: CBST's mining.

    Zou et al., ECCV 2018. What is small, the method says by what it stores as ``guide``: its pseudo
    labels of the rare classes alone.
    """

    chance: float
    """Probability that a crop of the target is placed around a pixel of a rare class, if any."""
    guide = "rare"

    def __post_init__(self) -> None:
        super().__post_init__()
        check("scale_range", self.scale_range is not None, "[smallest, largest]", self.scale_range)
        check_probabilities(chance=self.chance)

    def guided(
        self,
        image: UInt8[Tensor, "3 h w"],
        label: UInt8[Tensor, "h2 w2"],
        size: tuple[int, int],
        random: Random,
    ) -> TargetView:
        """With ``chance`` a crop around a pixel that is labelled."""
        view = self.draw(size_of(image), size, random)
        if random.random() < self.chance:
            view = mined(view, label, random)
        return TargetView(self._shown(image, view, random)(), view)


def mined(view: View, label: UInt8[Tensor, "h w"], random: Random) -> View:
    """The view with its last crop around a random pixel of a random one of the label's classes.

    As it is if the label shows none.
    """
    *before, crop = view.operations
    shown = warp(label, View(view.size, (*before,)), kind="label")
    classes = [number for number in shown.unique().tolist() if number != IGNORE]
    if not classes:
        return view
    places = (shown == random.choice(classes)).nonzero()
    y, x = places[random.randrange(len(places))].tolist()
    height, width = shown.shape
    crop = crop._replace(x=around(x, width, crop.width), y=around(y, height, crop.height))
    return View(view.size, (*before, crop))


def around(place: int, have: int, want: int) -> int:
    """Where a window of ``want`` pixels begins that has ``place`` in its middle, if it can."""
    return min(max(0, place - want // 2), max(0, have - want))


def moved_crop(crop: Crop, scaled: tuple[int, int], base: tuple[int, int]) -> Crop:
    """The crop of the image at size ``base`` that lies where ``crop`` lies at size ``scaled``."""
    sides = zip((crop.x, crop.y), scaled, base, (crop.width, crop.height), strict=True)
    # The quotient first, as in CaCo's release: its rounding decides about the last pixel.
    x, y = (
        int(start * (max(0, target - want) / (have - want))) if have > want else 0
        for start, have, target, want in sides
    )
    return Crop(x, y, crop.width, crop.height)


def _window(map: UInt8[Tensor, "h w"], crop: Crop) -> UInt8[Tensor, "_ _"]:
    return map[crop.y : crop.y + crop.height, crop.x : crop.x + crop.width]
