"""Distillation: a student learns the class probabilities of a constant teacher."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from uda_hydra.losses.precision import full_precision, probabilities


def distillation(
    student_logits: Float[Tensor, "b k h w"],
    teacher_logits: Float[Tensor, "b k h w"],
    *,
    student: str = "log_prob",
) -> Float[Tensor, ""]:
    """t (ln t - ln p), averaged over pixels and classes: 0 or more, KL(t, p) / k.

    ``student`` "prob" has p where ln p belongs, as ProDA's release does: a negative value with weak
    gradients. Hinton et al., 2015.
    """
    target = probabilities(teacher_logits).detach()
    prediction = full_precision(student_logits)
    compared = prediction.softmax(dim=1) if student == "prob" else prediction.log_softmax(dim=1)
    return (torch.xlogy(target, target) - target * compared).mean()
