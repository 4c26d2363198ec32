import math

import pytest
import torch

import uda_hydra.losses as L


def test_hand_worked_value():
    # Probabilities (1/4, 3/4) and (1/2, 1/2): both classes differ by 1/4.
    student = torch.tensor([1.0, 3.0]).log().view(1, 2, 1, 1)
    assert L.consistency(student, torch.zeros(1, 2, 1, 1)).item() == pytest.approx(0.25)


def test_agreement_is_zero_and_contradiction_is_two_over_k():
    logits = torch.full((1, 5, 2, 2), -200.0)
    first, second = logits.clone(), logits.clone()
    first[:, 0], second[:, 1] = 200, 200
    assert L.consistency(first, first).item() == 0
    assert L.consistency(first, second).item() == pytest.approx(2 / 5)


def test_resizes_logits_before_the_softmax():
    # On the middle one of three cells the logit is 3, whose softmax is no mean of its neighbours'.
    student = torch.tensor([[[[0.0, 6.0]], [[0.0, 0.0]]]])
    teacher = torch.zeros(1, 2, 1, 3)
    expected = sum(1 / (1 + math.exp(-z)) - 0.5 for z in (0, 3, 6)) / 3
    assert L.consistency(student, teacher).item() == pytest.approx(expected)


def test_the_teacher_is_constant():
    student, teacher = (torch.randn(1, 3, 2, 2, requires_grad=True) for _ in range(2))
    L.consistency(student, teacher).backward()
    assert student.grad.abs().sum() > 0
    assert teacher.grad is None


def test_half_precision_counts_in_float32():
    student, teacher = torch.randn(2, 1, 3, 2, 2).bfloat16()
    expected = L.consistency(student.float(), teacher.float())
    assert L.consistency(student, teacher).equal(expected)
