"""Operations on Pillow pictures, and the policies that choose them: RandAugment, AutoAugment."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from uda_hydra.augment.picture import change_picture
from uda_hydra.augment.view import extend
from uda_hydra.types import CutOut, Mirror, Operation, Rotate, Shear, Translate, View

GREY = 127
"""What RandAugment shows outside of the picture and in cut-outs."""
_FACTORS = {
    "color": ImageEnhance.Color,
    "contrast": ImageEnhance.Contrast,
    "brightness": ImageEnhance.Brightness,
    "sharpness": ImageEnhance.Sharpness,
}
RAND_OPERATIONS = (
    *("autocontrast", "equalize", "identity", "brightness", "color", "contrast", "sharpness"),
    *("posterize", "solarize", "rotate", "shear_x", "shear_y", "translate_x", "translate_y"),
)
"""From which ProDA's strong augmentation draws."""


def recolour(picture: Image.Image, name: str, amount: float = 0.0) -> Image.Image:
    """One photometric operation of Pillow, by its name.

    ``amount`` is a factor (1 changes nothing) for color, contrast, brightness and sharpness, the
    bits that posterize keeps, and the level from which solarize inverts; others read none.
    """
    match name:
        case "identity":
            return picture
        case "autocontrast":
            return ImageOps.autocontrast(picture)
        case "equalize":
            return ImageOps.equalize(picture)
        case "invert":
            return ImageOps.invert(picture)
        case "posterize":
            return ImageOps.posterize(picture, int(amount))
        case "solarize":
            return ImageOps.solarize(picture, amount)
    return _FACTORS[name](picture).enhance(amount)


def soften(picture: Image.Image, radius: float) -> Image.Image:
    """Pillow's Gaussian blur, of a standard deviation of ``radius`` pixels."""
    return picture.filter(ImageFilter.GaussianBlur(radius))


def rand_amount(name: str, strength: int) -> float:
    """Amount of a photometric operation of RandAugment at ``strength`` 1 to 9."""
    match name:
        case "posterize":
            return int(0.4 * strength) + 4.0
        case "solarize":
            return 256.0 - int(25.6 * strength)
    return 0.09 * strength + 0.05


def rand_geometry(name: str, strength: int, sign: int, size: tuple[int, int]) -> Operation | None:
    """The operation that RandAugment's ``name`` is at ``strength``; None for photometric ones."""
    share = sign * 0.03 * strength
    match name:
        case "rotate":
            return Rotate(sign * 3.0 * strength)
        case "shear_x":
            return Shear(share, 0.0)
        case "shear_y":
            return Shear(0.0, share)
        case "translate_x":
            return Translate(int(share * size[0]), 0)
        case "translate_y":
            return Translate(0, int(share * size[1]))
    return None


def cut_out(size: tuple[int, int], side: int, centre: tuple[float, float]) -> CutOut:
    """A square of ``side`` around ``centre``, as far as it lies in the picture."""
    start = [int(max(0, at - side / 2)) for at in centre]
    end = [int(min(whole, at + side)) for whole, at in zip(size, start, strict=True)]
    return CutOut(*start, *end)


class Changed(NamedTuple):
    """A picture and how its pixels moved."""

    picture: Image.Image
    view: View


def rand_augment(picture: Image.Image, random: Random) -> Changed:
    """ProDA's strong augmentation (Zhang et al., CVPR 2021) of a picture.

    A mirror with p = 0.5; two of ``RAND_OPERATIONS``, each carried out with p = 0.5 at a strength
    of 1 to 9; a cut-out of a third of the shorter side.
    """
    size = picture.size
    changed = Changed(picture, View(size))
    if random.random() < 0.5:
        changed = _move(changed, Mirror())
    for _ in range(2):
        name, strength = random.choice(RAND_OPERATIONS), random.randint(1, 9)
        sign, fires = random.choice((-1, 1)), random.random() < 0.5
        if not fires:
            continue
        operation = rand_geometry(name, strength, sign, size)
        if operation is None:
            seen = recolour(changed.picture, name, rand_amount(name, strength))
            changed = Changed(seen, changed.view)
        else:
            changed = _move(changed, operation)
    centre = random.uniform(0, size[0]), random.uniform(0, size[1])
    return _move(changed, cut_out(size, min(size) // 3, centre))


def _move(changed: Changed, operation: Operation) -> Changed:
    picture = change_picture(changed.picture, operation, fill=GREY)
    return Changed(picture, extend(changed.view, operation))


_AUTO_NAMES = {
    **{"S": "solarize", "P": "posterize", "E": "equalize", "A": "autocontrast", "I": "invert"},
    **{"C": "color", "K": "contrast", "H": "sharpness"},
}
_AUTO_TEXT = """
.6S5 .6A0|.8E0 .6E0|.6P7 .6P6|.4E0 .2S4|.6S3 .6E0|.8P5 1E0|.6E0 .4P6|0E0 .8E0|.6I0 1E0
.6C4 1K8|.8C8 .8S7|.4H7 .6I0|.4C0 .6E0|.4E0 .2S4|.6S5 .6A0|.6I0 1E0|.6C4 1K8|.8E0 .6E0
"""


class AutoOperation(NamedTuple):
    """One of the two operations of a policy of AutoAugment."""

    probability: float
    name: str
    index: int
    """Of its strength, 0 to 9."""


def _policies(text: str) -> tuple[tuple[AutoOperation, ...], ...]:
    return tuple(
        tuple(AutoOperation(float(w[:-2]), _AUTO_NAMES[w[-2]], int(w[-1])) for w in pair.split())
        for pair in text.replace("\n", "|").strip("|").split("|")
    )


AUTO_POLICIES = _policies(_AUTO_TEXT)
"""AutoAugment's ImageNet policies without geometry, as CaCo retrains with."""


def auto_amount(name: str, index: int) -> float:
    """Amount of an operation of AutoAugment; of a factor how far it lies from 1."""
    match name:
        case "solarize":
            return 256 - 256 * index / 9
        case "posterize":
            return float(round(8 - 4 * index / 9))
        case "color" | "contrast" | "sharpness":
            return 0.1 * index
    return 0.0


def auto_change(picture: Image.Image, name: str, index: int, sign: int) -> Image.Image:
    """One operation of AutoAugment; ``sign`` says to which side of 1 a factor lies."""
    amount = auto_amount(name, index)
    return recolour(picture, name, 1 + sign * amount if name in _FACTORS else amount)


def auto_augment(picture: Image.Image, random: Random) -> Image.Image:
    """One policy, drawn uniformly; its two operations are carried out independently."""
    for probability, name, index in random.choice(AUTO_POLICIES):
        fires, sign = random.random() < probability, random.choice((-1, 1))
        if fires:
            picture = auto_change(picture, name, index, sign)
    return picture
