import math

import pytest
import torch

import uda_hydra.losses as L
from uda_hydra.types import IGNORE, Prediction


def test_uniform_logits_cost_the_logarithm_of_the_class_count():
    label = torch.tensor([[[0, 1, 2], [3, IGNORE, 0]]])
    loss = L.segmentation(torch.zeros(1, 4, 2, 3), label)
    assert loss.item() == pytest.approx(math.log(4))


def test_matches_a_loop_over_labelled_pixels():
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 5)
    label = torch.randint(0, 3, (2, 4, 5))
    label[0, :2] = IGNORE
    costs = [
        -logits[b, :, y, x].log_softmax(dim=0)[label[b, y, x]]
        for b in range(2)
        for y in range(4)
        for x in range(5)
        if label[b, y, x] != IGNORE
    ]
    assert len(costs) == 30
    assert L.segmentation(logits, label).item() == pytest.approx(sum(costs).item() / 30)


@pytest.mark.parametrize("over", ["valid", "all"])
def test_weighted_pixels_match_a_loop(over):
    torch.manual_seed(0)
    logits, weight = torch.randn(2, 3, 4, 5, requires_grad=True), torch.rand(2, 4, 5)
    label = torch.randint(0, 3, (2, 4, 5))
    label[0, :2] = IGNORE
    total = sum(
        -weight[b, y, x] * logits[b, :, y, x].log_softmax(dim=0)[label[b, y, x]]
        for b in range(2)
        for y in range(4)
        for x in range(5)
        if label[b, y, x] != IGNORE
    )
    slow = total / {"valid": 30, "all": 40}[over]
    fast = L.segmentation(logits, label, weight, over=over)
    torch.testing.assert_close(fast, slow)
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in (fast, slow)]
    torch.testing.assert_close(*gradients)
    plain = L.segmentation(logits, label, over=over)
    torch.testing.assert_close(plain, L.segmentation(logits, label, torch.ones(2, 4, 5), over=over))


def test_logits_meet_the_label_at_its_own_size():
    # Aligned corners put 0, 1, 2 on three pixels when 0, 2 lie on two.
    logits = torch.tensor([[[[0.0, 2.0]], [[0.0, 0.0]]]])
    label = torch.zeros(1, 1, 3, dtype=torch.uint8)
    expected = sum(math.log(1 + math.exp(-z)) for z in (0, 1, 2)) / 3
    assert L.segmentation(logits, label).item() == pytest.approx(expected)


def test_ignored_pixels_have_no_gradient():
    logits = torch.randn(1, 3, 1, 2, requires_grad=True)
    L.segmentation(logits, torch.tensor([[[1, IGNORE]]])).backward()
    assert logits.grad[..., 0].abs().sum() > 0
    assert logits.grad[..., 1].eq(0).all()


@pytest.mark.parametrize("over", ["valid", "all"])
def test_without_a_labelled_pixel_loss_and_gradient_are_zero(over):
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = L.segmentation(logits, torch.full((1, 4, 4), IGNORE), torch.ones(1, 4, 4), over=over)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.eq(0).all()


def test_half_precision_logits_are_summed_in_float32():
    logits = torch.zeros(1, 2, 200, 200, dtype=torch.bfloat16)
    loss = L.segmentation(logits, torch.zeros(1, 200, 200, dtype=torch.long))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(math.log(2), rel=1e-5)


def test_every_head_gives_a_term():
    logits, label = torch.randn(1, 3, 2, 2), torch.zeros(1, 2, 2, dtype=torch.long)
    features = torch.zeros(1, 4, 2, 2)

    both = L.supervised(Prediction(logits, 2 * logits, features), label)
    one = L.supervised(Prediction(logits, None, features), label)

    assert both["seg"] == L.segmentation(logits, label) == one["seg"]
    assert both["seg_aux"] == L.segmentation(2 * logits, label)
    assert set(one) == {"seg"}
