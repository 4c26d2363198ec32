"""Views with random colours, as torchvision changes them: ProCA and FADA."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from random import Random

import torchvision.transforms.functional as vision
from jaxtyping import UInt8
from torch import Tensor

from uda_hydra.augment.checks import check, check_probabilities, check_ranges, check_sizes
from uda_hydra.augment.photometric import Jitter, draw_jitter
from uda_hydra.augment.picture import from_pillow, to_pillow
from uda_hydra.augment.training import SourceView, TargetView, size_of
from uda_hydra.augment.view import extend, output_size
from uda_hydra.augment.warp import warp
from uda_hydra.types import Crop, Mirror, Resize, View

DOMAINS = ("source", "target", "both", "none")


@dataclass(frozen=True)
class ColourView:
    """A part of an image at a random size, mirrored or not, then in other colours.

    ProCA (Jiang et al., ECCV 2022), in the release's order.
    """

    colours: str
    """Whose colours change: one of ``DOMAINS``."""
    jitter: float
    """Factors of brightness, contrast and saturation are in 1 - jitter to 1 + jitter."""
    hue: float
    """Largest shift of the hue, in full turns, at most 0.5."""
    grey: float
    """Probability of a grey image."""
    blur: list[float] | None
    """Smallest and largest sigma of the 3x3 Gaussian blur, in pixels; None for no blur."""
    scale_range: list[float] | None
    """Smallest and largest size, relative to the image's own; None for the training size."""
    crop: list[int] | None
    """Width and height of the part that is seen; None for the training size."""
    mirror: float
    """Probability of exchanging left and right."""

    def __post_init__(self) -> None:
        check("colours", self.colours in DOMAINS, f"one of {', '.join(DOMAINS)}", self.colours)
        check("hue", 0 <= self.hue <= 0.5, "in [0, 0.5]", self.hue)
        check_probabilities(jitter=self.jitter, grey=self.grey, mirror=self.mirror)
        check_ranges(blur=self.blur, scale_range=self.scale_range)
        check_sizes(crop=self.crop)

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
        """Image and label in the same view; only the image changes its colours."""
        view = self._draw(size_of(image), size, random)
        seen = self._shown(image, view, "source", random)
        return SourceView(seen, warp(label, view, kind="label"), view)

    def target(
        self, image: UInt8[Tensor, "3 h w"], size: tuple[int, int], random: Random
    ) -> TargetView:
        """One view of the image."""
        view = self._draw(size_of(image), size, random)
        return TargetView(self._shown(image, view, "target", random)(), view)

    def uncropped(self, domain: str, size: tuple[int, int]) -> tuple[int, int] | None:
        """The training size; random sizes are parts of the files' own."""
        return size if self.scale_range is None else None

    def _draw(self, size: tuple[int, int], wanted: tuple[int, int], random: Random) -> View:
        view = View(size)
        crop = (self.crop[0], self.crop[1]) if self.crop else wanted
        if self.scale_range is not None:
            scale = random.uniform(*self.scale_range)
            view = extend(view, Resize(*(max(1, int(side * scale)) for side in size)))
        elif size != wanted:
            view = extend(view, Resize(*wanted))
        if output_size(view) != crop:
            view = padded_crop(view, crop, random)
        return extend(view, Mirror()) if random.random() < self.mirror else view

    def _shown(
        self, image: UInt8[Tensor, "3 h w"], view: View, domain: str, random: Random
    ) -> Callable[[], UInt8[Tensor, "3 h w"]]:
        """Jitter in a random order, grey, blur: each as torchvision does it."""
        if self.colours not in (domain, "both"):
            return partial(warp, image, view, kind="image")
        chosen = draw_jitter(self.jitter, self.hue, random)
        grey = random.random() < self.grey
        sigma = random.uniform(*self.blur) if self.blur is not None else None

        def shown() -> UInt8[Tensor, "3 h w"]:
            seen = jittered(warp(image, view, kind="image"), chosen)
            if grey:
                seen = from_pillow(vision.to_grayscale(to_pillow(seen), num_output_channels=3))
            return seen if sigma is None else vision.gaussian_blur(seen, [3, 3], [sigma] * 2)

        return shown


def jittered(image: UInt8[Tensor, "3 h w"], chosen: Jitter) -> UInt8[Tensor, "3 h w"]:
    """The image with torchvision's colour jitter of a Pillow picture."""
    changes = (
        vision.adjust_brightness,
        vision.adjust_contrast,
        vision.adjust_saturation,
        vision.adjust_hue,
    )
    picture = to_pillow(image)
    for number in chosen.order:
        picture = changes[number](picture, chosen[number])
    return from_pillow(picture)


def padded_crop(view: View, size: tuple[int, int], random: Random) -> View:
    """The view's part of ``size`` at a random place; what is too small is padded on both sides.

    On each side by all that is missing, as in the release.
    """
    corner = []
    for have, want in zip(output_size(view), size, strict=True):
        missing = max(0, want - have)
        corner.append(random.randint(0, have + 2 * missing - want) - missing)
    return extend(view, Crop(*corner, *size))
