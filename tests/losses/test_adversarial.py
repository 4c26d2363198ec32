"""Least squares losses by hand, and the penalty on the gradient of known discriminators."""

from __future__ import annotations

import math

import pytest
import torch

import uda_hydra.losses as L
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


def test_a_linear_discriminator_is_punished_for_its_slope_once_per_scale_and_image():
    image = torch.rand(2, 1, 3, 4, requires_grad=True)
    # Twelve pixels with a slope of 2, then with a slope of 3; the mean over two equal images.
    penalty = gradient_penalty([2 * image, 3 * image], image)
    assert penalty.item() == pytest.approx(12 * 4 + 12 * 9)


def test_the_penalty_trains_the_discriminator():
    image = torch.rand(1, 1, 3, 4, requires_grad=True)
    slope = torch.tensor(2.0, requires_grad=True)
    gradient_penalty([slope * image], image).backward()
    # d(12 s^2) / ds
    assert slope.grad.item() == pytest.approx(48)


def test_gan_losses_by_hand():
    scores = torch.tensor([0.0, 2.0]).view(1, 1, 1, 2)
    assert L.gan(scores, L.TARGET, kind="ls").item() == pytest.approx((1 + 1) / 2)
    assert L.gan(scores, L.SOURCE, kind="ls").item() == pytest.approx((0 + 4) / 2)
    vanilla = (math.log(2) + math.log(1 + math.exp(2))) / 2
    assert L.gan(scores, L.SOURCE, kind="vanilla").item() == pytest.approx(vanilla)


def test_extreme_scores_have_finite_losses_and_gradients():
    scores = torch.tensor([-500.0, 500.0]).view(1, 1, 1, 2).requires_grad_()
    loss = L.gan(scores, L.TARGET, kind="vanilla")
    loss.backward()
    assert loss.item() == pytest.approx(250)
    assert scores.grad.isfinite().all()


def test_every_head_has_a_term():
    scores = {"main": torch.zeros(1, 1, 2, 2), "aux": torch.full((1, 1, 2, 2), 3.0)}
    terms = L.adversarial("adv", scores, L.SOURCE, kind="ls")
    assert {name: term.item() for name, term in terms.items()} == {"adv": 0, "adv_aux": 9}
