"""How far a backbone has moved from what it saw at the beginning."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from uda_hydra.losses.precision import full_precision
from uda_hydra.types import IGNORE, upsample


def majority_label(
    label: Integer[Tensor, "b h w"], scale: int, *, min_share: float, num_classes: int
) -> Integer[Tensor, "b h2 w2"]:
    """The commonest class of each cell of ``scale`` x ``scale`` pixels, ignored below a share.

    The ignored pixels count as a class. Of equally common ones it is the first, the ignored ones
    last. Rows and columns that fill no cell are left out.
    """
    rows, columns = (side // scale for side in label.shape[-2:])
    cells = label[:, : rows * scale, : columns * scale].long().clamp(max=num_classes)
    cells = cells.unflatten(2, (columns, scale)).unflatten(1, (rows, scale))
    cells = cells.transpose(2, 3).flatten(3)
    counts = cells.new_zeros(*cells.shape[:3], num_classes + 1)
    counts.scatter_add_(3, cells, torch.ones_like(cells))
    # Later classes lose a tie; argmax alone may return any of them.
    order = torch.arange(num_classes, -1, -1, device=label.device)
    common = (counts * (num_classes + 1) + order).argmax(dim=3)
    enough = counts.amax(dim=3) >= min_share * scale**2
    return common.where(enough & (common < num_classes), IGNORE)


def feature_distance(
    feature: Float[Tensor, "b d h w"],
    initial: Float[Tensor, "b d h w"],
    label: Integer[Tensor, "b h2 w2"],
    *,
    classes: Sequence[int],
    min_share: float,
    num_classes: int,
) -> Float[Tensor, ""]:
    """Mean Euclidean distance of two maps over the cells that show one of ``classes``, in [0, inf).

    DAFormer (Hoyer et al., CVPR 2022), Eq. 9 to 12. A cell shows a class that covers ``min_share``
    of its pixels, see ``majority_label``. Without such a cell it is 0, where the release logs nan;
    where the maps are equal its gradient is 0.
    """
    # Backbones round up, and so may have a cell more than the label.
    scale = -(-label.shape[-1] // feature.shape[-1])
    cells = majority_label(label, scale, min_share=min_share, num_classes=num_classes)
    selected = sum((cells == one for one in classes), start=torch.zeros_like(cells, dtype=bool))
    difference = full_precision(feature) - full_precision(initial).detach()
    distance = torch.linalg.vector_norm(difference, dim=1, keepdim=True)
    distance = upsample(distance, cells.shape[-2:])[:, 0]
    return distance.where(selected, 0.0).sum() / selected.sum().clamp(min=1)
