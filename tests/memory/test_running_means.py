import torch

from uda_hydra.memory import Gaussians, Prototypes
from uda_hydra.memory.class_sums import class_moments, class_sums


def batch(cells=60, dim=5, classes=4):
    features = torch.randn(2, dim, 3, cells // 6)
    label = torch.randint(0, classes - 1, (2, 3, cells // 6))
    label[0, 0, :4] = 255
    return features, label


def rows(features, label):
    return features.movedim(1, -1)[label != 255], label[label != 255]


def test_a_cumulative_mean_is_that_of_all_cells():
    torch.manual_seed(0)
    table, cells = Prototypes(4, 5), []
    for _ in range(3):
        features, label = batch()
        table.update(features, label)
        cells.append(rows(features, label))
    values, labels = (torch.cat(part) for part in zip(*cells, strict=True))
    for c in range(3):
        torch.testing.assert_close(table.mean[c], values[labels == c].mean(dim=0))
        assert table.count[c] == (labels == c).sum()
    assert not table.mean[3].any()


def test_by_hand():
    one = torch.ones(1, 1, 1, 2)
    label = torch.zeros(1, 1, 2, dtype=torch.long)
    cumulative, window, momentum = (
        Prototypes(1, 1),
        Prototypes(1, 1, window=2.0),
        Prototypes(1, 1, momentum=0.25),
    )
    for table in (cumulative, window, momentum):
        table.count.fill_(6)
        table.update(one, label)
        assert table.count == 8
    # Two new cells of eight; of two kept and two new ones; a quarter whatever their number.
    assert (cumulative.mean, window.mean, momentum.mean) == (0.25, 0.5, 0.25)
    # A class that has seen less than the window has no older cells to weigh.
    new = Prototypes(1, 1, window=100.0)
    new.update(3 * one, label)
    assert new.mean == 3


def test_half_precision_is_summed_in_single():
    features = torch.full((1, 1, 1, 5000), 1.0, dtype=torch.bfloat16)
    total, count = class_sums(features, torch.zeros(1, 1, 5000, dtype=torch.long), 2)
    assert total.tolist() == [[5000.0], [0.0]]
    assert count.tolist() == [5000.0, 0.0]


def test_counts_pass_2_to_the_24():
    table = Prototypes(1, 1)
    table.count.fill_(2**24)
    table.update(torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, dtype=torch.long))
    assert table.count == 2**24 + 1


def test_running_moments_are_those_of_all_cells():
    torch.manual_seed(0)
    table, cells = Gaussians(4, 5), []
    for _ in range(3):
        features, label = batch()
        # Far from 0, where a difference of squares would lose the variance.
        table.update(features + 1000, label)
        cells.append(rows(features + 1000, label))
    values, labels = (torch.cat(part) for part in zip(*cells, strict=True))
    for c in range(3):
        own = values[labels == c]
        torch.testing.assert_close(table.mean[c], own.mean(dim=0))
        wanted = own.var(dim=0, correction=0)
        torch.testing.assert_close(table.variance[c], wanted, rtol=1e-3, atol=1e-4)


def test_moments_of_a_class_without_cells_are_0():
    mean, variance, count = class_moments(torch.randn(1, 2, 2, 2), torch.zeros(1, 2, 2).long(), 2)
    assert count.tolist() == [4.0, 0.0]
    assert not mean[1].any()
    assert not variance[1].any()
