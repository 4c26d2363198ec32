import numpy as np
import pytest
import torch

import uda_hydra.losses as L


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


def test_values_above_the_cap_are_not_collected():
    confidence, label = torch.ones(100), torch.zeros(100, dtype=torch.long)
    place = L.bins_at(L.confidence_histogram(confidence, label, 1), 0.6)
    assert len(L.values_in_bins(confidence, label, place, 0.9)[0]) == 0
    assert L.class_thresholds([(confidence[:0], label[:0])], place, 0.9).tolist() == [0.9]
