import pytest
import torch

import uda_hydra.losses as L
from uda_hydra.types import IGNORE


def slow_majority(label, scale, min_share, num_classes):
    rows, columns = label.shape[0] // scale, label.shape[1] // scale
    found = torch.full((rows, columns), IGNORE)
    for y in range(rows):
        for x in range(columns):
            cell = label[y * scale : (y + 1) * scale, x * scale : (x + 1) * scale]
            counts = [int((cell == one).sum()) for one in [*range(num_classes), IGNORE]]
            most = max(range(num_classes + 1), key=lambda one: (counts[one], -one))
            if most < num_classes and counts[most] >= min_share * scale**2:
                found[y, x] = most
    return found


@pytest.mark.parametrize("min_share", [0.0, 0.375, 0.75])
def test_majority_is_that_of_the_slow_loop(min_share):
    torch.manual_seed(0)
    label = torch.randint(0, 4, (2, 13, 18))
    label[label == 3] = IGNORE
    label[0, :4, :4] = 1
    found = L.majority_label(label, 4, min_share=min_share, num_classes=3)
    for one, own in zip(label, found, strict=True):
        assert torch.equal(own, slow_majority(one, 4, min_share, 3))


def distance(feature, initial, label, classes=(1,)):
    options = {"classes": classes, "min_share": 0.75, "num_classes": 3}
    return L.feature_distance(feature, initial, label, **options)


def test_three_and_four_are_five_apart():
    label = torch.zeros(1, 4, 8, dtype=torch.long)
    label[:, :, 4:] = 1
    feature = torch.zeros(1, 2, 1, 2, requires_grad=True)
    initial = torch.tensor([[[[9.0, 3.0]], [[9.0, 4.0]]]])
    loss = distance(feature, initial, label)
    loss.backward()
    assert loss.item() == 5
    # Only the cell of class 1 counts: the unit vector from its initial feature.
    torch.testing.assert_close(feature.grad, torch.tensor([[[[0, -0.6]], [[0, -0.8]]]]))
    assert distance(feature, initial, label, classes=(2,)) == 0


def test_equal_features_have_no_gradient():
    feature = torch.randn(1, 2, 1, 2, requires_grad=True)
    loss = distance(feature, feature.detach().clone(), torch.ones(1, 4, 8, dtype=torch.long))
    loss.backward()
    assert loss == 0
    assert feature.grad.eq(0).all()


def test_a_backbone_may_have_a_cell_more_than_the_label():
    feature = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1).expand(1, 2, 3, 9)
    label = torch.full((1, 16, 64), IGNORE)
    label[:, :, 2:8] = 1  # Three quarters of a cell of 8 pixels, and fewer of one of 7.
    loss = distance(feature, torch.zeros(1, 2, 3, 9), label)
    torch.testing.assert_close(loss, torch.tensor(5.0))
