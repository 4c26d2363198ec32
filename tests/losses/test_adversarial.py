"""Least squares losses by hand, and the gradient penalty of critics whose gradient is known."""

from __future__ import annotations

import pytest
import torch

from uda_hydra.losses.adversarial import (
    gradient_penalty,
    least_squares_discriminator,
    least_squares_generator,
)


def scores(*values):
    """One map of equal scores per scale, each smaller than the one before."""
    return [torch.full((2, 1, 4 - i, 4), value) for i, value in enumerate(values)]


def test_values_by_hand():
    fake, real = scores(0.5, 2.0), scores(1.0, 0.0)
    # 0.25 + 0 on the first scale, 4 + 1 on the second.
    assert least_squares_discriminator(fake, real).item() == pytest.approx(5.25)
    # Twice (0.25 + 1).
    assert least_squares_generator(fake).item() == pytest.approx(2.5)


def test_perfect_scores_cost_nothing():
    assert least_squares_discriminator(scores(0.0), scores(1.0)).item() == 0
    assert least_squares_generator(scores(1.0)).item() == 0


def test_a_linear_critic_is_punished_for_its_slope_once_per_scale_and_image():
    image = torch.rand(2, 1, 3, 4, requires_grad=True)
    # Twelve pixels with a slope of 2, then with a slope of 3; the mean over two equal images.
    penalty = gradient_penalty([2 * image, 3 * image], image)
    assert penalty.item() == pytest.approx(12 * 4 + 12 * 9)


def test_the_penalty_trains_the_critic():
    image = torch.rand(1, 1, 3, 4, requires_grad=True)
    slope = torch.tensor(2.0, requires_grad=True)
    gradient_penalty([slope * image], image).backward()
    # d(12 s^2) / ds
    assert slope.grad.item() == pytest.approx(48)
