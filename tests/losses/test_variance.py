"""Disagreement of heads, and how sure a prediction is: values worked out by hand."""

import math

import pytest
import torch

import uda_hydra.losses as L
from uda_hydra.types import IGNORE


def pixels(*logits):
    """One image of one row."""
    return torch.tensor(logits).T[None, :, None]


def test_variance_by_hand():
    aux = pixels((1.0, 0.0), (0.0, 0.0), (0.0, 2.0))
    main = pixels((2.0, 0.0), (0.0, 1.0), (0.0, 2.0))
    found = L.prediction_variance(aux, main)[0, 0]
    torch.testing.assert_close(found, torch.tensor([0.0671, 0.1109, 0.0]), atol=1e-4, rtol=0)
    found = L.prediction_variance(main, aux)[0, 0]
    torch.testing.assert_close(found, torch.tensor([0.0826, 0.1201, 0.0]), atol=1e-4, rtol=0)
    assert (L.prediction_variance(aux, aux) == 0).all()


@pytest.mark.parametrize(
    ("probability", "power", "expected"),
    [((0.5, 0.25, 0.25), 2.0, 0.8022), ((0.5, 0.25, 0.25), 1.5, 0.8477)],
)
def test_charbonnier_entropy_by_hand(probability, power, expected):
    logits = pixels(probability).log()
    assert L.charbonnier_entropy(logits, power=power) == pytest.approx(expected, abs=1e-4)
    sure = pixels((0.98, 0.01, 0.01)).log()
    assert L.charbonnier_entropy(sure, power=2.0) == pytest.approx(1.076e-4, abs=1e-6)


def test_regularisers_of_labelled_pixels_by_hand():
    logits = pixels((0.0, 1.0, 0.0), (0.0, 0.0, 0.0), (1.0, 1.0, 3.0))
    label = torch.tensor([[[1, 2, IGNORE]]])
    found = {name: float(loss(logits, label)) for name, loss in L.REGULARIZERS.items()}
    # The second pixel is uniform: ln 3, -ln 3, 1 / 3. The third is ignored.
    assert found["mrkld"] == pytest.approx((1.2181 + math.log(3)) / 2, abs=1e-4)
    assert found["mrent"] == pytest.approx((-0.9753 - math.log(3)) / 2, abs=1e-4)
    assert found["mrl2"] == pytest.approx((0.4217 + 1 / 3) / 2, abs=1e-4)
    assert all(loss(logits, label * 0 + IGNORE) == 0 for loss in L.REGULARIZERS.values())


@pytest.mark.parametrize(
    ("name", "gradient"),
    [
        ("mrkld", (-0.1214, 0.2428, -0.1214)),
        ("mrent", (-0.1221, 0.2442, -0.1221)),
        ("mrl2", (-0.0889, 0.1779, -0.0889)),
    ],
)
def test_gradients_of_regularisers_by_hand(name, gradient):
    logits = pixels((0.0, 1.0, 0.0)).requires_grad_()
    L.REGULARIZERS[name](logits).backward()
    torch.testing.assert_close(logits.grad.flatten(), torch.tensor(gradient), atol=1e-4, rtol=0)
