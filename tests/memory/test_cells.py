import torch

from uda_hydra.memory import PixelBank, sample_anchors
from uda_hydra.memory.cells import first_of_each


def test_random_cells_are_distinct_and_of_their_group():
    torch.manual_seed(0)
    group = torch.randint(0, 3, (2, 5, 6))
    group[0, 0] = 255
    chosen, exists = first_of_each(group, 4, 50)
    for g in range(4):
        own = chosen[g][exists[g]]
        assert own.sort().values.equal((group.flatten() == g).nonzero()[:, 0])


def test_every_subset_is_as_likely():
    group = torch.zeros(1, 1, 4, dtype=torch.long)
    torch.manual_seed(0)
    counts = torch.zeros(4)
    for _ in range(2000):
        chosen, _ = first_of_each(group, 1, 2)
        counts[chosen[0]] += 1
    assert (counts - 1000).abs().max() < 100


def test_anchors_are_hard_cells_first_and_of_a_class_with_enough():
    label = torch.tensor([[[0] * 6 + [1] * 4]])
    predicted = torch.tensor([[[0, 0, 0, 1, 1, 1, 1, 1, 1, 1]]])
    embedding = torch.arange(10.0).view(1, 1, 1, 10)
    found = sample_anchors(
        embedding,
        label,
        predicted,
        num_classes=2,
        min_samples=4,
        max_samples=100,
        permute=torch.arange,
    )
    assert found.valid.tolist() == [[True] * 4, [False] * 4]
    assert found.embedding[0, :, 0].tolist() == [3, 4, 0, 1]


def test_a_bank_that_is_full_begins_again():
    bank = PixelBank(1, 4, 1, pixels=3, official=False)
    for value in (1.0, 2.0):
        bank.update(torch.full((1, 1, 1, 3), value), torch.zeros(1, 1, 3).long(), torch.arange)
    # Three slots, then the last three, for which three more do not fit.
    assert bank.pixel[0, :, 0].tolist() == [1, 2, 2, 2]
    assert bank.pixel_place.tolist() == [0]
    assert bank.mean[0, :2, 0].tolist() == [1, 2]
    assert bank.mean_place.tolist() == [2]
