import math

import pytest
import torch

import uda_hydra.losses as L


def test_entropy_is_one_for_uniform_and_zero_for_certain():
    uniform, certain = torch.full((7,), 1 / 7), torch.eye(7)
    assert L.normalized_entropy(uniform).item() == pytest.approx(1)
    assert L.normalized_entropy(certain).eq(0).all()


def test_entropy_by_hand():
    value = L.normalized_entropy(torch.tensor([0.5, 0.25, 0.25])).item()
    assert value == pytest.approx(1.5 * math.log(2) / math.log(3))


def test_a_certain_prediction_has_finite_gradients():
    logits = torch.tensor([[300.0, 0.0, -300.0]], requires_grad=True)
    L.normalized_entropy(logits.softmax(dim=-1)).sum().backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("clamp", [0.0, 0.1, 0.3])
def test_reliability_stays_in_its_range(clamp):
    torch.manual_seed(0)
    probability = (3 * torch.randn(200, 6)).softmax(dim=1)
    trust = L.reliability(torch.cat([probability, torch.eye(6)]), clamp)
    assert trust.min() >= 1 - clamp - 1e-6
    assert trust.max() <= 1 + clamp + 1e-6
    torch.testing.assert_close(trust[-6:], torch.full((6,), 1 + clamp))


def test_reliability_between_the_bounds_by_hand():
    # Entropy of (1 - p, p) in bits is 0.08079 at p = 0.01: 1 - 0.08079 + 0.1.
    trust = L.reliability(torch.tensor([0.99, 0.01]), 0.1)
    assert trust.item() == pytest.approx(1.01921, abs=1e-5)
    assert L.reliability(torch.tensor([0.5, 0.5]), 0.1).item() == pytest.approx(0.9)


def test_self_information_sums_to_the_normalised_entropy():
    torch.manual_seed(0)
    probability = torch.randn(2, 5, 3, 4).softmax(dim=1)
    total = L.self_information(probability).sum(dim=1)
    torch.testing.assert_close(total, L.normalized_entropy(probability.movedim(1, -1)))


def test_entropy_loss_of_uniform_and_certain_predictions():
    assert L.entropy(torch.full((1, 7, 2, 2), 1 / 7)).item() == pytest.approx(1)
    certain = torch.eye(4).view(1, 4, 2, 2).requires_grad_()
    loss = L.entropy(certain)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert certain.grad.isfinite().all()


def test_entropy_ranking_takes_the_least_certain_pixels_of_every_image():
    torch.manual_seed(0)
    probability = (3 * torch.randn(2, 5, 4, 5)).softmax(dim=1)
    pixels = L.normalized_entropy(probability.movedim(1, -1)).flatten(1)
    slow = sum(sorted(image.tolist())[-6:][i] for image in pixels for i in range(6)) / 12
    assert L.entropy(probability, hardest=0.3).item() == pytest.approx(slow, rel=1e-5)
    most = sum(max(image.tolist()) for image in pixels) / 2
    assert L.entropy(probability, hardest=0.01).item() == pytest.approx(most, rel=1e-5)


def test_class_prior_by_hand():
    # One image whose two pixels say (1, 0, 0) and (0.5, 0.5, 0); another that says (0, 0, 1).
    first = torch.tensor([[1.0, 0.5], [0.0, 0.5], [0.0, 0.0]])
    second = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    probability = torch.stack([first, second]).view(2, 3, 1, 2)
    share = torch.tensor([0.2, 0.6, 0.2])
    # Half of each share is asked: short by (0, 0.05, 0.1), and by (0.1, 0.3, 0).
    loss = L.class_prior(probability, share, strictness=0.5)
    assert loss.item() == pytest.approx((0.05 + 0.1 + 0.1 + 0.3) / 2)


def test_mean_entropy_of_uniform_and_certain_predictions():
    assert L.mean_entropy(torch.zeros(1, 4, 2, 3)).item() == pytest.approx(math.log(4) / 4)
    sure = torch.tensor([150.0, 0.0, -150.0]).view(1, 3, 1, 1).requires_grad_()
    loss = L.mean_entropy(sure)
    loss.backward()
    assert loss.item() == 0
    assert sure.grad.eq(0).all()
