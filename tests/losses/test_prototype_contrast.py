import math

import pytest
import torch
import torch.nn.functional as F

import uda_hydra.losses as L
from uda_hydra.losses.contrast import Cosines


def test_by_hand():
    # Cosines 1 and 0 at temperature 1/2: -ln of e^2 / (e^2 + 1).
    features, prototypes = (
        torch.tensor([3.0, 0.0]).view(1, 2, 1, 1),
        torch.tensor([[5.0, 0], [0, 7]]),
    )
    label = torch.zeros(1, 1, 1, dtype=torch.long)
    loss = L.prototype_contrast(features, label, prototypes, temperature=0.5)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-2)))


def test_cosines_and_their_gradient():
    torch.manual_seed(0)
    features = torch.randn(2, 70, 5, dtype=torch.float64, requires_grad=True)
    keys = F.normalize(torch.randn(3, 70, dtype=torch.float64), dim=1)
    cosine, length = Cosines.apply(features, keys)
    torch.testing.assert_close(cosine, keys @ F.normalize(features, dim=1))
    torch.testing.assert_close(length, features.norm(dim=1, keepdim=True))
    assert torch.autograd.gradcheck(lambda f: Cosines.apply(f, keys)[0], features)


def test_a_cell_of_length_0_has_a_finite_gradient():
    features = torch.zeros(1, 2, 1, 1, requires_grad=True)
    label = torch.zeros(1, 1, 1, dtype=torch.long)
    loss = L.prototype_contrast(features, label, torch.eye(2), temperature=1.0)
    assert loss.item() == pytest.approx(math.log(2))
    loss.backward()
    assert features.grad.isfinite().all()
