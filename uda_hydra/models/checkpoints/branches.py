"""Whether a file's DeepLabV2 heads were trained with two or four of their branches.

AdaptSegNet sums the first two, ADVENT all four, and their files have the same names and sizes. But
a branch that is not summed gets no gradient and keeps its initial values.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from uda_hydra.models.checkpoints.layouts import OURS
from uda_hydra.models.checkpoints.weight_layout import WeightLayout
from uda_hydra.models.heads import AsppSum

INITIAL_STD = 0.01


def branch_warnings(
    network: nn.Module, tensors: dict[str, Tensor], layout: WeightLayout
) -> tuple[str, ...]:
    """Warnings if ``model.active_branches`` of ``network`` does not suit these ``tensors``."""
    heads = {name: m for name, m in network.named_modules() if isinstance(m, AsppSum)}
    warnings = []
    for head, module in heads.items():
        later = [f"{head}.branches.{i}" for i in (2, 3)]
        if not all(f"{name}.weight" in tensors for name in later):
            continue
        untrained = all(_initial(tensors, name) for name in later)
        if untrained and module.active_branches == 4:
            warnings.append(
                f"branches 2 and 3 of {head} were never trained, as in AdaptSegNet's files, and "
                "the model sums them; set model.active_branches=2"
            )
        # One of our own runs may have started from other than the official initial values.
        if not untrained and module.active_branches == 2 and layout.name != OURS.name:
            warnings.append(
                f"all four branches of {head} were trained, as in ADVENT's files, and the model "
                "sums two; set model.active_branches=4"
            )
    return tuple(warnings)


def _initial(tensors: dict[str, Tensor], branch: str) -> bool:
    """Whether the weights look like draws of N(0, 0.01) and the biases lie in torch's bound."""
    weight, bias = tensors[f"{branch}.weight"].float(), tensors[f"{branch}.bias"].float()
    # Five standard errors of the estimate, or the fourth decimal.
    tolerance = max(5e-5, 5 * INITIAL_STD / math.sqrt(2 * weight.numel()))
    spread = weight.std().item() - INITIAL_STD
    return abs(spread) <= tolerance and bool(bias.abs().max() <= 1 / math.sqrt(weight[0].numel()))
