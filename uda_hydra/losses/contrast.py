"""Contrast between pixels and the keys of a category dictionary."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor

from uda_hydra.losses.precision import full_precision

EMPTY_SLOT = -1e30
"""Logarithm of the weight of an empty slot: nothing after exp, yet finite, so gradients are too."""


def category_contrast(
    query: Float[Tensor, "b d h w"],
    label: Integer[Tensor, "b h w"],
    keys: Float[Tensor, "c m d"],
    reliability: Float[Tensor, "c m"],
    *,
    temperature: float,
    base_temperature: float,
    mean: str = "keys",
) -> Float[Tensor, ""]:
    """Draws each cell towards the keys of its category and away from all others; in [0, inf).

    CaCo (Huang et al., CVPR 2022), as released. With unit vectors q, k, temperature t and
    reliability r, s_ij = q_i . k_j / t and l_ij = s_ij + ln r_j - ln sum_m r_m exp(s_im), it is
    -(t / base) times the sum of l_ij over each cell's own keys, divided by the number of cells
    and by the number of all keys (``mean="keys"``) or of the cell's own (``mean="positives"``).

    ``keys`` are constants of any length, class by class; a slot of reliability 0 is empty. Cells
    of another label than 0..c-1 (ignored ones) or without a key add 0 but are counted.
    """
    with torch.autocast(query.device.type, enabled=False):  # 1 / t is large: no half precision
        query = F.normalize(full_precision(query), dim=1).flatten(2)  # b d n
        keys = F.normalize(keys.detach().to(query.dtype), dim=2) / temperature
        reliability = reliability.detach().to(query.dtype)
        filled = reliability > 0
        log_weight = reliability.log().clamp(min=EMPTY_SLOT)

        scores = keys.flatten(0, 1) @ query + log_weight.flatten()[:, None]  # b cm n
        log_total = scores.logsumexp(dim=1, keepdim=True)  # b 1 n

        # A sum over the own keys of l_ij needs their sum only, never a cells x keys mask.
        count = filled.sum(dim=1)[:, None]  # c 1
        weight_sum = (log_weight * filled).sum(dim=1)[:, None]  # c 1
        attraction = keys.sum(dim=1) @ query + weight_sum - count * log_total  # b c n

    classes = torch.arange(len(keys), device=label.device)[:, None]
    own = label.flatten(1)[:, None] == classes  # b c n
    divisor = count.clamp(min=1) if mean == "positives" else filled.sum().clamp(min=1)
    cells = label.numel()
    return -(temperature / base_temperature) * (attraction * own / divisor).sum() / cells
