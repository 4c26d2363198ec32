import math

import pytest
import torch

import uda_hydra.losses as L
from uda_hydra.types import IGNORE


def logits(*size: int) -> torch.Tensor:
    torch.manual_seed(0)
    return 2 * torch.randn(size)


def test_uniform_and_certain_predictions_by_hand():
    uniform = torch.full((2, 4, 3, 3), 1 / 4)
    certain = torch.eye(4).view(1, 4, 2, 2)
    # -1/2 of the sum of squares, 4/16 and 1, and divided by the number of classes once more.
    assert L.max_square(uniform).item() == pytest.approx(-1 / 32)
    assert L.max_square(certain).item() == pytest.approx(-1 / 8)


def test_class_weights_by_hand():
    count = torch.tensor([[16.0, 0.0, 48.0]])
    # 16^0.5 * 64^0.5 = 32 and 48^0.5 * 64^0.5; a class without a pixel weighs 1.
    expected = torch.tensor([[1 / 32, 1.0, 1 / math.sqrt(48 * 64)]])
    torch.testing.assert_close(L.class_weights(count, ratio=0.5), expected)
    assert L.class_weights(count, ratio=0.0)[0, [0, 2]].tolist() == [1 / 64, 1 / 64]
    assert L.class_weights(count, ratio=1.0)[0, 0].item() == 1 / 16


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("ratio", [0.0, 0.2, 1.0])
def test_image_wise_squares_match_a_loop(ratio, labelled):
    probability = logits(3, 5, 4, 6).softmax(dim=1)
    label = torch.randint(0, 5, (3, 4, 6))
    label[:, 0] = IGNORE
    counted = label if labelled else probability.argmax(dim=1)

    slow = 0.0
    for image, map in zip(probability, counted, strict=True):
        counts = [(map == c).sum().item() for c in range(5)]
        for y in range(4):
            for x in range(6):
                own = counts[image[:, y, x].argmax()]
                weight = 1 / max(own**ratio * sum(counts) ** (1 - ratio), 1)
                slow += weight * image[:, y, x].square().sum().item() / (3 * 5)

    weights = L.pixel_weights(probability, ratio=ratio, label=label if labelled else None)
    fast = L.image_wise(probability.square().sum(dim=1), weights, num_classes=5)
    assert fast.item() == pytest.approx(slow, rel=1e-5)


def test_weights_are_constant_for_the_gradient():
    values = torch.rand(1, 2, 2, requires_grad=True)
    weights = torch.rand(1, 2, 2, requires_grad=True)
    L.image_wise(values, weights, num_classes=3).backward()
    assert weights.grad is None
    torch.testing.assert_close(values.grad, weights.detach() / 3)
