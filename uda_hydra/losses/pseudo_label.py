"""Labels made of a network's own predictions, and where they may be believed."""

from __future__ import annotations

import torch
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


def label_shares(label: Integer[Tensor, "b h w"], num_classes: int) -> dict[str, Float[Tensor, ""]]:
    """Shares of all pixels that carry a pseudo label: of any class, and of each by its number."""
    index = label.flatten().long()
    index = index.where(index != IGNORE, num_classes)
    count = torch.zeros(num_classes + 1, dtype=torch.long, device=label.device)
    shares = count.scatter_add_(0, index, torch.ones_like(index))[:-1] / label.numel()
    named = {f"pseudo_share/{number}": share for number, share in enumerate(shares)}
    return {"pseudo_share/all": shares.sum()} | named
