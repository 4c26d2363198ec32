import pytest
import torch

from uda_hydra.memory import ClassMeans, MovingPrototypes, class_means, running_mean
from uda_hydra.types import IGNORE


def test_class_means_are_those_of_a_slow_loop():
    torch.manual_seed(0)
    feature = torch.randn(2, 3, 5, 6)
    label = torch.randint(0, 4, (2, 5, 6))
    label[:, 0] = IGNORE
    label[1][label[1] == 2] = 1
    found = class_means(feature, label, num_classes=4, min_pixels=5)
    for image in range(2):
        for k in range(4):
            cells = feature[image][:, label[image] == k]
            assert found.shown[image, k] == (cells.shape[1] >= 5)
            if cells.shape[1]:
                torch.testing.assert_close(found.vectors[image, k], cells.mean(dim=1))
    assert not found.shown[1, 2]


def test_a_mean_of_nothing_but_zeros_is_none():
    label = torch.zeros(1, 2, 2, dtype=torch.long)
    found = class_means(torch.zeros(1, 3, 2, 2), label, num_classes=1, min_pixels=1)
    assert not found.shown.any()


def test_the_running_mean_counts_images_alike_until_its_cap():
    one = torch.tensor([True])
    images = [(torch.full((1, 2), value), one) for value in (1.0, 3.0, 8.0)]
    start = torch.zeros(1, 2), torch.zeros(1)
    vectors, count = running_mean(images, *start, cap=3000)
    assert vectors.tolist() == [[4.0, 4.0]]
    assert count.tolist() == [3.0]
    # From the second image on with the weight 1 / (1 + 1): 1, then 2, then 5.
    vectors, count = running_mean(images, *start, cap=1)
    assert vectors.tolist() == [[5.0, 5.0]]
    assert count.tolist() == [1.0]
    unseen = [(torch.ones(1, 2), ~one)]
    assert running_mean(unseen, *start, cap=1)[1].tolist() == [0.0]


def test_prototypes_move_once_for_each_image_that_shows_their_class():
    prototypes = MovingPrototypes(2)
    prototypes.begin(torch.zeros(2, 1))
    means = ClassMeans(torch.ones(2, 2, 1), torch.tensor([[True, False], [True, False]]))
    prototypes.move(means, momentum=0.5)
    assert prototypes.vectors.tolist() == [[0.75], [0.0]]
    assert prototypes.drift.item() == pytest.approx(0.375)
    with pytest.raises(ValueError, match="3 classes for 2"):
        prototypes.begin(torch.zeros(3, 1))


def test_class_means_of_half_precision_are_taken_in_full():
    # 76800 cells: a count and a sum that float16 cannot hold.
    feature = torch.full((1, 2, 240, 320), 0.5, dtype=torch.float16)
    found = class_means(feature, torch.zeros(1, 240, 320).long(), num_classes=1, min_pixels=1)
    assert found.vectors.tolist() == [[[0.5, 0.5]]]
    assert found.shown.all()
