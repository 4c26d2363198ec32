import pytest
import torch

import uda_hydra.losses as L


def literal(logits, label):
    """Class by class, over the valid pixels alone, with differences of the Jaccard loss."""
    probability = logits.softmax(dim=1).movedim(1, -1)[label != 255]
    label = label[label != 255]
    losses = []
    for c in label.unique():
        truth = (label == c).to(probability)
        error, order = (truth - probability[:, c]).abs().sort(descending=True)
        truth = truth[order]
        jaccard = 1 - (truth.sum() - truth.cumsum(0)) / (truth.sum() + (1 - truth).cumsum(0))
        growth = torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
        losses.append(error @ growth)
    return sum(losses) / len(losses)


def test_two_pixels_by_hand():
    # Both are of class 0, with the probabilities 3/4 and 1/2: errors 1/2 and 1/4, each worth 1/2.
    logits = torch.tensor([[3.0, 1.0], [1.0, 1.0]]).log().view(1, 2, 1, 2)
    loss = L.lovasz_softmax(logits, torch.zeros(1, 1, 2, dtype=torch.long))
    assert loss.item() == pytest.approx(0.375)


def test_equals_the_literal_loop():
    torch.manual_seed(0)
    logits = torch.randn(2, 4, 5, 7, dtype=torch.float64, requires_grad=True)
    label = torch.randint(0, 3, (2, 5, 7))
    label[0, :2] = 255
    ours, plain = L.lovasz_softmax(logits, label), literal(logits, label)
    torch.testing.assert_close(ours, plain)
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in (ours, plain)]
    torch.testing.assert_close(*gradients)
    assert not gradients[0][0, :, :2].any()


def test_is_0_for_certain_truth_and_1_for_certain_error():
    label = torch.tensor([[[0, 1]]])
    right = torch.eye(2).view(1, 2, 1, 2) * 200
    assert L.lovasz_softmax(right, label) == 0
    assert L.lovasz_softmax(right.flip(1), label) == 1
