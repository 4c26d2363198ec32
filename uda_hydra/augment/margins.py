"""Margins of a picture where nothing is learned: its borders, or the bonnet of the car."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor

from uda_hydra.augment.warp import warp
from uda_hydra.types import View


class Margins(NamedTuple):
    """Shares of a picture's height and width."""

    top: float
    bottom: float
    left: float
    right: float


def inside_margins(
    view: View, margins: Margins, device: torch.device | None = None
) -> Bool[Tensor, "h w"]:
    """Where the view shows the picture and none of its margins."""
    width, height = view.size
    top, bottom = round(margins.top * height), round(margins.bottom * height)
    left, right = round(margins.left * width), round(margins.right * width)
    inside = torch.zeros(height, width, dtype=torch.bool, device=device)
    inside[top : height - bottom, left : width - right] = True
    return warp(inside, view, kind="label", fill=0)
