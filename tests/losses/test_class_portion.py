"""Thresholds of each class's surest share, and the labels they make."""

import pytest
import torch

import uda_hydra.losses as L
from uda_hydra.losses.class_portion import BINS
from uda_hydra.types import IGNORE

POOL = [0.9, 0.5, 0.65, 0.6, 0.7]
"""Confidences of a class in two images: the release's example, every fourth pixel of them."""


def probability(confidence, num_classes=3):
    """One image whose pixels are all most probably class 0."""
    rest = [[(1 - p) / (num_classes - 1)] * (num_classes - 1) for p in confidence]
    rows = [[p, *others] for p, others in zip(confidence, rest, strict=True)]
    return torch.tensor(rows).T[None, :, None]


@pytest.mark.parametrize(("portion", "expected"), [(0.4, 0.7), (0.2, 0.9), (0.15, 1.0)])
def test_threshold_of_a_portion_by_hand(portion, expected):
    parts = [L.confidence_counts(probability(part)) for part in (POOL[:3], POOL[3:])]
    counts = sum(part[0].long() for part in parts)
    assert counts.sum(dim=1).tolist() == [5, 0, 0]
    rank = (counts.sum(dim=1).double() * portion).floor().long()
    found = L.confidence_at(counts, rank)
    assert found[0] == pytest.approx(expected, abs=1 / BINS)
    # Of a class that is never predicted nothing is sure enough.
    assert found[1:].tolist() == [1, 1]


def test_ranks_are_those_of_a_sorted_list():
    torch.manual_seed(0)
    shown = (3 * torch.randn(2, 5, 20, 30)).softmax(dim=1)
    counts = L.confidence_counts(shown).long().sum(dim=0)
    confidence, label = shown.max(dim=1)
    for k in range(5):
        own = confidence[label == k].sort(descending=True).values
        for rank in (1, len(own) // 3, len(own)):
            found = L.confidence_at(counts, torch.full((5,), rank))[k]
            assert own[rank - 1] - 1 / BINS <= found <= own[rank - 1]


def test_balanced_labels_by_hand():
    rows = [[0.6, 0.3, 0.1], [0.05, 0.45, 0.5], [0.4, 0.5, 0.1], [0.7, 0.28, 0.02]]
    shown = torch.tensor(rows).T[None, :, None]
    label = L.balanced_label(shown, torch.tensor([0.9, 0.5, 0.2]))
    assert label.flatten().tolist() == [IGNORE, 2, 1, IGNORE]
