"""Weights of classes by how seldom batches show them."""

import pytest
import torch

from uda_hydra.memory import ClassBalance
from uda_hydra.types import IGNORE


def shown(*counts):
    """A label map of one row with so many pixels of each class."""
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))[None, None]


def test_weights_by_hand():
    # Rare are fewer than 4000 of 103 000 and of 105 000 pixels.
    balance = ClassBalance(3, max_weight=7.0, rare_share=4000 / 103_000)
    torch.testing.assert_close(
        balance.weights(shown(100_000, 3000, 0)), torch.tensor([1.0, 7.0, 11.2])
    )
    torch.testing.assert_close(
        balance.weights(shown(100_000, 0, 5000)), torch.tensor([1.0, 11.2, 1.54])
    )


def test_ignored_pixels_weigh_nothing_and_the_mean_is_a_buffer():
    balance = ClassBalance(2, max_weight=3.0, rare_share=0.5)
    label = torch.tensor([[[0, 0, IGNORE, 1]]], dtype=torch.uint8)
    assert balance.take(label).flatten().tolist() == [1.0, 1.0, 0.0, 3.0]
    assert [*balance.state_dict()] == ["often"]


def test_one_weight_for_all():
    balance = ClassBalance(3, max_weight=1.0, rare_share=0.03125)
    assert balance.weights(shown(5, 0, 1)).eq(1).all()
    with pytest.raises(ValueError, match=r"method\.max_weight must be 1 or more"):
        ClassBalance(3, max_weight=0.5, rare_share=0.5)
