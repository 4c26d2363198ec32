"""How training images are varied: one class for each way, chosen by ``augmentation``.

Every draw comes from the generator that is given, a function of (seed, domain, step, place).
Validation images are never varied.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import UInt8
from torch import Tensor

from uda_hydra.augment.checks import check_probabilities, check_ranges, check_sizes
from uda_hydra.augment.picture import from_pillow, to_pillow
from uda_hydra.augment.policies import rand_augment, soften
from uda_hydra.augment.view import (
    extend,
    random_crop,
    random_scale,
)
from uda_hydra.augment.warp import warp
from uda_hydra.types import Mirror, Resize, View


class SourceView(NamedTuple):
    """A labelled image as a training sees it."""

    image: Callable[[], UInt8[Tensor, "3 h w"]]
    """Makes the image, whose draws are made: a view may be rejected by its label alone."""
    label: UInt8[Tensor, "h w"]
    view: View


class TargetView(NamedTuple):
    """An unlabelled image as a training sees it, see ``types.Target``."""

    image: UInt8[Tensor, "3 h w"]
    view: View
    strong: UInt8[Tensor, "3 h w"] | None = None
    strong_view: View | None = None
    whole: UInt8[Tensor, "3 h0 w0"] | None = None
    plain: TargetView | None = None


@runtime_checkable
class Augmentation(Protocol):
    """What ``augmentation`` may name."""

    from_file: Collection[str]
    """Domains whose images it is given as they are in the files, and not at the training size."""

    def uncropped(self, domain: str, size: tuple[int, int]) -> tuple[int, int] | None:
        """The largest width and height that crops of a domain of training size ``size`` are from.

        None where that depends on the files, or nothing is cropped.
        """

    def source(
        self,
        image: UInt8[Tensor, "3 h w"],
        label: UInt8[Tensor, "h w"],
        size: tuple[int, int],
        random: Random,
    ) -> SourceView:
        """A labelled image, varied; ``size`` (width, height) is its domain's training size."""

    def target(
        self, image: UInt8[Tensor, "3 h w"], size: tuple[int, int], random: Random
    ) -> TargetView:
        """An unlabelled image, varied."""


@dataclass(frozen=True)
class RandomView:
    """Mirror, scale and crop, blur: MaxSquare (Chen et al., ICCV 2019).

    Draws come in the order of the release, from a generator as Python's own.
    """

    mirror: float
    """Probability of exchanging left and right."""
    blur: float
    """Probability of Pillow's Gaussian blur, of a radius drawn from [0, 1) pixels."""
    scale_range: list[float] | None
    """Smallest and largest of the random sizes, relative to ``scale_base``, of which a part is
    seen; None takes the training size."""
    scale_base: list[int] | None
    """Width and height; None for each domain's training size. Only read with a ``scale_range``."""
    crop: list[int] | None = None
    """Width and height of the part that is seen, for both domains; None for the training size."""

    def __post_init__(self) -> None:
        check_probabilities(mirror=self.mirror, blur=self.blur)
        check_ranges(scale_range=self.scale_range)
        check_sizes(scale_base=self.scale_base, crop=self.crop)

    @property
    def from_file(self) -> Collection[str]:
        """Random sizes are taken from the files themselves."""
        return () if self.scale_range is None else ("source", "target")

    def source(
        self,
        image: UInt8[Tensor, "3 h w"],
        label: UInt8[Tensor, "h w"],
        size: tuple[int, int],
        random: Random,
    ) -> SourceView:
        """Image and label in the same view; only the image is blurred."""
        view = self.draw(size_of(image), size, random)
        return SourceView(self._shown(image, view, random), warp(label, view, kind="label"), view)

    def target(
        self, image: UInt8[Tensor, "3 h w"], size: tuple[int, int], random: Random
    ) -> TargetView:
        """One view of the image."""
        view = self.draw(size_of(image), size, random)
        return TargetView(self._shown(image, view, random)(), view)

    def uncropped(self, domain: str, size: tuple[int, int]) -> tuple[int, int]:
        """The largest random size, or the training size."""
        if self.scale_range is None:
            return size
        return scaled(_pair(self.scale_base) or size, self.scale_range[1])

    def draw(self, size: tuple[int, int], wanted: tuple[int, int], random: Random) -> View:
        """A view of a picture of ``size``; ``wanted`` is the training size."""
        view = View(size, (Mirror(),) if random.random() < self.mirror else ())
        crop = _pair(self.crop) or wanted
        if self.scale_range is not None:
            base = _pair(self.scale_base) or wanted
            return random_crop(
                extend(view, Resize(*random_scale(size, base, self.scale_range, random))),
                crop,
                random,
            )
        if size != wanted:
            view = extend(view, Resize(*wanted))
        return view if crop == wanted else random_crop(view, crop, random)

    def _shown(
        self, image: UInt8[Tensor, "3 h w"], view: View, random: Random
    ) -> Callable[[], UInt8[Tensor, "3 h w"]]:
        radius = random.random() if random.random() < self.blur else None

        def shown() -> UInt8[Tensor, "3 h w"]:
            seen = warp(image, view, kind="image")
            return seen if radius is None else from_pillow(soften(to_pillow(seen), radius))

        return shown


@dataclass(frozen=True)
class WeakStrong:
    """A weak view of both domains and a strong one of the target: ProDA (Zhang et al., CVPR 2021).

    Weak: the image resized to a random width, cropped, and mirrored or not. Strong: that crop
    through RandAugment and a cut-out.
    """

    width: int | None
    """Pixels that ``scale_range`` refers to, heights keep the ratio; None: those in training."""
    scale_range: list[float]
    crop: list[int]
    """Width and height of the crop."""
    mirror: float
    """How often a view is mirrored, 0 to 1."""
    whole: bool
    """Keep the target's whole image at its training size too, for a teacher."""
    strong: bool
    """Make the strong view."""
    from_file = ()

    def __post_init__(self) -> None:
        check_ranges(scale_range=self.scale_range)
        check_sizes(crop=self.crop)
        check_probabilities(mirror=self.mirror)

    def source(
        self,
        image: UInt8[Tensor, "3 h w"],
        label: UInt8[Tensor, "h w"],
        size: tuple[int, int],
        random: Random,
    ) -> SourceView:
        """The weak view."""
        view = self._draw(size_of(image), size, random)
        seen = partial(warp, image, view, kind="image", filter="bilinear")
        return SourceView(seen, warp(label, view, kind="label"), view)

    def target(
        self, image: UInt8[Tensor, "3 h w"], size: tuple[int, int], random: Random
    ) -> TargetView:
        """The weak view, its strong variation, and the whole image on request."""
        view = self._draw(size_of(image), size, random)
        weak = warp(image, view, kind="image", filter="bilinear")
        whole = image if self.whole else None
        if not self.strong:
            return TargetView(weak, view, whole=whole)
        strong, strong_view = rand_augment(to_pillow(weak), random)
        return TargetView(weak, view, from_pillow(strong), strong_view, whole)

    def uncropped(self, domain: str, size: tuple[int, int]) -> tuple[int, int]:
        """The largest random size."""
        return scaled(size, (self.width or size[0]) / size[0] * self.scale_range[1])

    def _draw(self, size: tuple[int, int], wanted: tuple[int, int], random: Random) -> View:
        width = max(1, int((self.width or wanted[0]) * random.uniform(*self.scale_range)))
        height = max(1, int(width * size[1] / size[0]))
        crop = (self.crop[0], self.crop[1])
        view = random_crop(View(size, (Resize(width, height),)), crop, random)
        return extend(view, Mirror()) if random.random() < self.mirror else view


def scaled(size: tuple[int, int], factor: float) -> tuple[int, int]:
    """Both sides times ``factor``."""
    return int(size[0] * factor), int(size[1] * factor)


def size_of(image: UInt8[Tensor, "3 h w"]) -> tuple[int, int]:
    """Width and height."""
    return image.shape[2], image.shape[1]


def _pair(size: list[int] | None) -> tuple[int, int] | None:
    return None if size is None else (size[0], size[1])


AS_THEY_ARE = RandomView(mirror=0.0, blur=0.0, scale_range=None, scale_base=None)
"""Images at the training size, unchanged."""


class Unvaried:
    """Views at the training size, as they are; a subclass changes them afterwards."""

    def uncropped(self, domain: str, size: tuple[int, int]) -> None:
        """None: nothing is cropped."""

    def source(
        self,
        image: UInt8[Tensor, "3 h w"],
        label: UInt8[Tensor, "h w"],
        size: tuple[int, int],
        random: Random,
    ) -> SourceView:
        """As it is."""
        return AS_THEY_ARE.source(image, label, size, random)

    def target(
        self, image: UInt8[Tensor, "3 h w"], size: tuple[int, int], random: Random
    ) -> TargetView:
        """As it is."""
        return AS_THEY_ARE.target(image, size, random)
