"""Consistency: two views of an image should be predicted alike."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from uda_hydra.losses.precision import full_precision, probabilities
from uda_hydra.types import upsample


def disagreement(
    student: Float[Tensor, "b k h w"], teacher: Float[Tensor, "b k h w"]
) -> Float[Tensor, ""]:
    """Mean absolute difference of two probability maps, in [0, 2/k]; the teacher is constant."""
    return (student - teacher.detach()).abs().mean()


def consistency(
    student_logits: Float[Tensor, "b k h w"], teacher_logits: Float[Tensor, "b k h2 w2"]
) -> Float[Tensor, ""]:
    """Mean absolute difference of the class probabilities on the teacher's grid, in [0, 2/k].

    CaCo (Huang et al., CVPR 2022), as released: the student's logits are resized before the
    softmax, the mean runs over batch, classes and cells.
    """
    student_logits = upsample(full_precision(student_logits), teacher_logits.shape[-2:])
    return disagreement(probabilities(student_logits), probabilities(teacher_logits))
