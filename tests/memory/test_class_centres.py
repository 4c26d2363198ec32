"""Class centres against slow loops, and the memory's update."""

import torch
import torch.nn.functional as F

from uda_hydra.memory import ClassMemory, class_centres, image_means, whole_centres
from uda_hydra.types import IGNORE, shrink_label


def slow_means(features, label, classes):
    batch, dim = features.shape[:2]
    found = torch.zeros(batch, classes, dim)
    for n in range(batch):
        for c in range(classes):
            mask = label[n] == c
            share = mask.float().mean() + 1e-6
            found[n, c] = (features[n] * mask).flatten(1).mean(dim=1) / share
    return found


def test_means_are_those_of_a_loop():
    torch.manual_seed(0)
    features = torch.randn(3, 5, 4, 6)
    label = torch.randint(0, 4, (3, 4, 6))
    label[0, :2] = IGNORE
    label[1][label[1] == 2] = 0
    expected = slow_means(features, label, 4)
    torch.testing.assert_close(image_means(features, label, 4), expected)
    assert (image_means(features, label, 4)[1, 2] == 0).all()
    torch.testing.assert_close(
        class_centres(features, label, 4), F.normalize(expected.mean(dim=0), dim=1)
    )


def test_centres_are_constants_in_full_precision():
    features = torch.ones(1, 2, 1, 3, dtype=torch.bfloat16, requires_grad=True)
    found = class_centres(features, torch.zeros(1, 1, 3, dtype=torch.long), 2)
    assert found.dtype == torch.float32 and not found.requires_grad


def test_images_of_a_data_set_count_equally():
    means = [torch.tensor([[3.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 3.0], [0.0, 0.0]])]
    found = whole_centres(iter(means))
    assert torch.allclose(found, torch.tensor([[0.5**0.5, 0.5**0.5], [0.0, 0.0]]))


def test_a_small_label_reads_the_pixel_at_the_floor():
    label = torch.arange(10).view(1, 1, 10)
    assert shrink_label(label, (1, 4)).tolist() == [[[0, 2, 5, 7]]]


def test_the_memory_follows_by_its_momentum_and_stays_of_unit_length():
    memory = ClassMemory(3, 2)
    memory.centres.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
    new = torch.tensor([[0.0, 1.0], [0.0, 0.0], [0.6, 0.8]])
    before = memory.centres.clone()
    moved = memory.updated(new, 0.75)
    assert memory.centres.equal(before)
    memory.update(new, 0.75)
    assert memory.centres.equal(moved)
    expected = torch.tensor([[3.0, 1.0], [0.0, 1.0], [0.6, 0.8]])
    torch.testing.assert_close(memory.centres, F.normalize(expected, dim=1))
    # A class that is absent stays even where nothing of a memory stays.
    memory.update(torch.zeros(3, 2), 0.0)
    torch.testing.assert_close(memory.centres, F.normalize(expected, dim=1))
