import pytest
import torch
from torch import Tensor

from uda_hydra.memory import CategoryQueue
from uda_hydra.types import IGNORE


def image(values: list[float], labels: list[int]) -> tuple[Tensor, Tensor]:
    """One-channel features and labels on a 1 x n grid."""
    features = torch.tensor(values, dtype=torch.float32)
    return features.view(1, 1, -1), torch.tensor(labels).view(1, -1)


def test_a_key_is_the_mean_over_the_cells_of_its_class():
    queue = CategoryQueue(3, 2, 1)
    queue.push(*image([1, 3, 10, 99], [0, 0, 2, IGNORE]))
    assert queue.keys.flatten().tolist() == [2, 0, 0, 0, 10, 0]
    assert queue.filled.tolist() == [[True, False], [False, False], [True, False]]
    assert queue.pushed.tolist() == [1, 0, 1]


def test_the_newest_key_replaces_the_oldest():
    queue = CategoryQueue(2, 3, 1)
    for value in range(1, 6):
        queue.push(*image([value], [1]))
    assert queue.keys[1].flatten().tolist() == [4, 5, 3]
    assert queue.keys[0].eq(0).all()
    assert queue.filled[1].all() and not queue.filled[0].any()


def test_true_labels_are_one_hot_and_predictions_are_averaged():
    queue = CategoryQueue(2, 2, 1)
    features, label = image([1, 2], [1, 1])
    queue.push(features, label)
    queue.push(features, label, torch.tensor([[[0.125, 0.375]], [[0.875, 0.625]]]))
    assert queue.probability[1].tolist() == [[0, 1], [0.25, 0.75]]


def test_labels_reach_the_grid_by_nearest_neighbour():
    # Cells 0 and 1 of two read pixels 0 and 2 (not 1) of five: floor(i * 5 / 2).
    queue = CategoryQueue(2, 1, 1)
    features = torch.tensor([3.0, 4.0]).view(1, 1, 2)
    label = torch.tensor([[0, 0, 1, IGNORE, IGNORE]], dtype=torch.uint8)
    queue.push(features, label)
    assert queue.keys.flatten().tolist() == [3, 4]
    # Of a network whose logits are finer than its features, the probability too.
    sure = torch.tensor([0.9, 0, 0.2, 0, 0])
    queue.push(features, label, torch.stack([sure, 1 - sure])[:, None])
    torch.testing.assert_close(queue.probability[:, 0], torch.tensor([[0.9, 0.1], [0.2, 0.8]]))


def test_matches_a_loop_over_classes_and_cells():
    torch.manual_seed(0)
    queue, history = CategoryQueue(4, 3, 5), {c: [] for c in range(4)}
    for _ in range(7):
        features, label = torch.randn(5, 4, 6), torch.randint(0, 5, (4, 6))
        label[label == 4] = IGNORE
        label[:, :4] = label[0, 0]
        queue.push(features, label)
        for c in range(4):
            cells = [features[:, y, x] for y in range(4) for x in range(6) if label[y, x] == c]
            history[c] += [torch.stack(cells).mean(dim=0)] if cells else []

    assert [len(keys) for keys in history.values()] == queue.pushed.tolist()
    for c, keys in history.items():
        for number, key in list(enumerate(keys))[-3:]:
            torch.testing.assert_close(queue.keys[c, number % 3], key)


def test_nothing_is_pushed_where_nothing_is_labelled():
    queue = CategoryQueue(2, 2, 1)
    queue.push(*image([5, 5], [IGNORE, IGNORE]))
    assert queue.pushed.eq(0).all() and queue.keys.eq(0).all()


def test_full_when_every_slot_of_every_counted_class_is():
    everything, first = CategoryQueue(2, 2, 1), CategoryQueue(2, 2, 1, classes=[0])
    fills = []
    for _ in range(2):
        for queue in (everything, first):
            queue.push(*image([1], [0]))
        fills.append((everything.fill.item(), first.fill.item()))
    assert fills == [(0.25, 0.5), (0.5, 1.0)]
    assert first.full and first.open and not (everything.full or everything.open)
    assert CategoryQueue(2, 2, 1, gate="none").open
    assert everything.complete.item() == 1
    # What is not counted fills nothing.
    other = CategoryQueue(2, 2, 1, classes=[0])
    other.push(*image([1], [1]))
    assert other.fill == 0

    for _ in range(2):
        everything.push(*image([1], [1]))
    assert everything.full and everything.complete.item() == 2


def test_a_restored_dictionary_goes_on_as_the_saved_one():
    saved, restored = CategoryQueue(2, 3, 1), CategoryQueue(2, 3, 1)
    for value in range(4):
        saved.push(*image([value], [value % 2]))
    restored.load_state_dict(saved.state_dict())
    for queue in (saved, restored):
        queue.push(*image([9, 8], [0, 1]))
    assert restored.keys.equal(saved.keys) and restored.pushed.equal(saved.pushed)


def test_autocast_does_not_lower_the_precision():
    torch.manual_seed(0)
    plain, cast = CategoryQueue(2, 1, 3), CategoryQueue(2, 1, 3)
    features, label = torch.randn(3, 4, 4), torch.randint(0, 2, (4, 4))
    plain.push(features, label)
    with torch.autocast("cpu", torch.bfloat16):
        cast.push(features, label)
    assert cast.keys.equal(plain.keys)


def test_errors_name_the_key():
    with pytest.raises(ValueError, match=r"method\.queue_length must be 1 or more, got 0"):
        CategoryQueue(2, 0, 1)
    with pytest.raises(ValueError, match=r"method\.gate_classes .* below 2, got \[2\]"):
        CategoryQueue(2, 1, 1, classes=[2])
    with pytest.raises(ValueError, match=r"method\.gate_classes"):
        CategoryQueue(2, 1, 1, classes=[])
