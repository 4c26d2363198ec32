import numpy as np
import pytest
import torch

import uda_hydra.losses as L
from uda_hydra.losses.class_threshold import EDGES
from uda_hydra.types import IGNORE

POOL = [0.9, 0.5, 0.65, 0.6, 0.7]
"""Confidences of a class in two images: CBST's example, every fourth pixel of them."""


def found(images, percent, cap, classes):
    """Thresholds from two passes over (confidence, label) of images."""
    total = sum(L.confidence_histogram(p, c, classes) for p, c in images)
    place = L.bins_at(total, percent)
    parts = [L.values_in_bins(p, c, place, cap) for p, c in images]
    return L.class_thresholds(parts, place, cap), place


@pytest.mark.parametrize(("percent", "cap"), [(0.6, 0.9), (0.5, 1.0), (0.0, 0.0), (1.0, 0.95)])
def test_equal_the_sorted_pool(percent, cap):
    torch.manual_seed(0)
    images = [(torch.rand(40), torch.randint(0, 4, (40,))) for _ in range(3)]
    pool, labels = (torch.cat(part).numpy() for part in zip(*images, strict=True))
    expected = []
    for c in range(5):
        own = np.sort(pool[labels == c])
        index = min(int(np.round(percent * len(own))), len(own) - 1)
        expected.append(min(float(own[index]), cap) if len(own) else 0.0)
    thresholds, place = found(images, percent, cap, classes=5)
    assert thresholds.tolist() == expected
    assert place.count.tolist() == [int((labels == c).sum()) for c in range(5)]


def test_equal_confidences_fall_into_one_bin():
    images = [(torch.full((9,), 0.25), torch.zeros(9, dtype=torch.long))]
    assert found(images, 0.6, 0.9, classes=1)[0].tolist() == [0.25]


def all_of_class_0(confidence, num_classes=3):
    """Probabilities of one image whose pixels are all most probably class 0."""
    rest = [[(1 - p) / (num_classes - 1)] * (num_classes - 1) for p in confidence]
    rows = [[p, *others] for p, others in zip(confidence, rest, strict=True)]
    return torch.tensor(rows).T[None, :, None]


@pytest.mark.parametrize(("portion", "expected"), [(0.4, 0.7), (0.2, 0.9), (0.15, 1.0)])
def test_threshold_of_a_portion_by_hand(portion, expected):
    parts = [L.image_histograms(all_of_class_0(part)) for part in (POOL[:3], POOL[3:])]
    counts = sum(part[0].long() for part in parts)
    assert counts.sum(dim=1).tolist() == [5, 0, 0]
    found = L.portion_thresholds(counts, portion)
    assert found[0] == EDGES[torch.tensor(expected) >= EDGES].max()
    # Of a class that is never predicted nothing is sure enough.
    assert found[1:].tolist() == [1, 1]


def test_approximate_thresholds_lie_just_below_the_exact_ones():
    torch.manual_seed(0)
    # From unsure to surer than float32 can tell from 1.
    shown = (torch.logspace(-1, 1.5, 30) * torch.randn(2, 5, 20, 30)).softmax(dim=1)
    counts = L.image_histograms(shown).long().sum(dim=0)
    confidence, label = shown.max(dim=1)
    for k in range(5):
        own = confidence[label == k].sort(descending=True).values
        for portion in (0.01, 0.2, 1.0):
            exact = own[int(portion * len(own)) - 1]
            found = L.portion_thresholds(counts, portion)[k]
            assert found == EDGES[exact >= EDGES].max()
            number = min(round((1 - portion) * len(own)), len(own) - 1)
            exact = own.flip(0)[number]
            found = L.share_thresholds(counts, 1 - portion, 0.9)[k]
            assert found == EDGES[exact >= EDGES].max().clamp(max=0.9)


@pytest.mark.parametrize(("mean", "spread"), [(0.5, 0.5), (4, 2), (8, 2.5), (10, 3)])
def test_the_share_is_kept_however_sure_the_network_is(mean, spread):
    """With bins even in confidence the last held 71 % of the surest of these classes."""
    torch.manual_seed(0)
    odds = mean + spread * torch.randn(1, 1, 500, 400)
    shown = torch.cat([odds, torch.zeros_like(odds)], dim=1).softmax(dim=1)
    threshold = L.portion_thresholds(L.image_histograms(shown)[0].long(), 0.2)[0]
    own = shown.max(dim=1).values[shown[:, 0] > shown[:, 1]].sort(descending=True).values
    shares = [float((own >= t).double().mean()) for t in (threshold, own[len(own) // 5 - 1])]
    # At the last two float32 cannot tell some pixels apart, so the exact threshold keeps more too.
    assert 0 <= shares[0] - shares[1] <= 3e-3
    assert shares[1] == pytest.approx(0.2, abs=3e-3)


def test_balanced_labels_by_hand():
    rows = [[0.6, 0.3, 0.1], [0.05, 0.45, 0.5], [0.4, 0.5, 0.1], [0.7, 0.28, 0.02]]
    shown = torch.tensor(rows).T[None, :, None]
    label = L.balanced_label(shown, torch.tensor([0.9, 0.5, 0.2]))
    assert label.flatten().tolist() == [IGNORE, 2, 1, IGNORE]


def test_values_above_the_cap_are_not_collected():
    confidence, label = torch.ones(100), torch.zeros(100, dtype=torch.long)
    place = L.bins_at(L.confidence_histogram(confidence, label, 1), 0.6)
    assert len(L.values_in_bins(confidence, label, place, 0.9)[0]) == 0
    assert L.class_thresholds([(confidence[:0], label[:0])], place, 0.9).tolist() == [0.9]
