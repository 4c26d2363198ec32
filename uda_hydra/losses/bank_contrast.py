"""Contrast of sampled embeddings with a memory bank: ProCA's variant."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from uda_hydra.losses.precision import full_precision


def bank_contrast(
    anchors: Float[Tensor, "k s d"],
    valid: Bool[Tensor, "k s"],
    means: Float[Tensor, "k m d"],
    pixels: Float[Tensor, "k m d"],
    *,
    temperature: float,
    official: bool,
) -> Float[Tensor, ""]:
    """Cross-entropy of each positive slot against all slots of other classes; in [0, inf).

    Mean over an anchor's positives, then over the ``valid`` anchors; 0 without one. Positives are
    all slots of the anchor's own class. ``official``: cells in the bank are nobody's positives, and
    anchor i has no positive in slot i, two faults of ProCA's release. Wang et al., ICCV 2021.
    """
    with torch.autocast(anchors.device.type, enabled=False):
        anchors = full_precision(anchors)
        slots = torch.cat([means, pixels], dim=1).detach().to(anchors.dtype)
        scores = torch.einsum("csd,kmd->cskm", anchors / temperature, slots)
    length = means.shape[1]
    own = torch.eye(len(means), dtype=torch.bool, device=scores.device)[:, None, :, None]
    own = own.expand(-1, 1, -1, 2 * length)
    if official:
        own = own & (torch.arange(2 * length, device=own.device) < length)
    others = scores.masked_fill(own, -torch.inf).flatten(2).logsumexp(dim=2)  # k s

    # Only an anchor's own class has positives: a diagonal of the scores.
    same = scores.diagonal(dim1=0, dim2=2).permute(2, 0, 1)  # k s m
    cost = F.softplus(others[..., None] - same)
    positive = torch.ones_like(cost, dtype=torch.bool)
    if official:
        positive[..., length:] = False
        positive &= ~_own_number(valid, 2 * length)
    count = positive.sum(dim=2).clamp(min=1)
    mean = (cost * positive).sum(dim=2) / count
    return mean.where(valid, 0).sum() / valid.sum().clamp(min=1)


def _own_number(valid: Bool[Tensor, "k s"], slots: int) -> Bool[Tensor, "k s m"]:
    """Where a slot of an anchor's class has the anchor's number, all slots counted by class.

    The release counts anchors view by view: the first of every class, the second ...
    """
    classes = valid.any(dim=1)
    rank = classes.cumsum(0) - 1
    views = torch.arange(valid.shape[1], device=valid.device)
    number = views * classes.sum() + rank[:, None]
    length = slots // 2
    first = torch.arange(len(valid), device=valid.device)[:, None] * length
    slot = torch.arange(slots, device=valid.device)
    return (number - first)[..., None] == slot
