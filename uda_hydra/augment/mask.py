"""Block masks: target images with squares hidden. MIC (Hoyer et al., CVPR 2023), Sec. 3.2."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def block_cells(size: tuple[int, int], block: int) -> tuple[int, int]:
    """Rows and columns of blocks in a picture of ``size`` (height, width), at least one of each.

    Halves go to even.
    """
    return max(1, round(size[0] / block)), max(1, round(size[1] / block))


def block_mask(
    uniform: Float[Tensor, "b 1 rows columns"], size: tuple[int, int], *, ratio: float
) -> Bool[Tensor, "b 1 h w"]:
    """What stays visible of pictures of ``size`` (height, width): cells above ``ratio``.

    ``uniform`` has one number in [0, 1) for each cell, so a share of ``ratio`` is hidden. Multiply
    the normalised image by it: what is hidden has the mean colour.
    """
    rows, columns = (
        torch.arange(side, device=uniform.device) * cells // side
        for side, cells in zip(size, uniform.shape[-2:], strict=True)
    )
    visible = uniform > torch.as_tensor(ratio, dtype=uniform.dtype)
    return visible[:, :, rows[:, None], columns]
