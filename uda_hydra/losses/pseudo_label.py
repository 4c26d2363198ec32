"""Labels made of a network's own predictions, and where they may be believed."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float, Integer
from torch import Tensor

from uda_hydra.types import IGNORE


def confident_label(
    probability: Float[Tensor, "b k h w"], threshold: float, *, inclusive: bool
) -> Integer[Tensor, "b h w"]:
    """The most probable class where it is more probable than the threshold, elsewhere ignored.

    ``inclusive``: a probability equal to the threshold is enough (CaCo's release), or not
    (MaxSquare's).
    """
    confidence, label = probability.max(dim=1)
    confident = confidence >= threshold if inclusive else confidence > threshold
    return label.where(confident, IGNORE)


def guiding_label(
    main: Float[Tensor, "b k h w"], aux: Float[Tensor, "b k h w"], threshold: float
) -> Integer[Tensor, "b h w"]:
    """Labels for the auxiliary head: of both heads' mean where either is confident.

    MaxSquare (Chen et al., ICCV 2019), Sec. 3.5.
    """
    confident = (main.amax(dim=1) > threshold) | (aux.amax(dim=1) > threshold)
    return (main + aux).argmax(dim=1).where(confident, IGNORE)


def confident_share(
    confidence: Float[Tensor, "b h w"], threshold: float, *, over: Literal["batch", "image"]
) -> Float[Tensor, "#b 1 1"]:
    """Share of the pixels that are at least as probable as the threshold, which weighs all of them.

    Of the whole "batch", as in the release of DACS (Tranheden et al., WACV 2021) and of its
    descendants, or of each "image", as in the paper.
    """
    sure = (confidence >= threshold).to(confidence.dtype)
    return sure.mean(dim=(0, 1, 2) if over == "batch" else (1, 2), keepdim=True)
