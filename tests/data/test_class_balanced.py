import math
from itertools import islice

import numpy as np
import pytest

from uda_hydra.data.class_balanced import BLOCK, class_balanced_draws, rare_class_probability


def drawn(holds, *, skip_first=True):
    """A block of draws."""
    random = np.random.RandomState(0)
    draws = class_balanced_draws(holds, random=random, skip_first=skip_first)
    return np.array([*islice(draws, BLOCK)])


def test_a_rare_class_comes_as_often_as_a_common_one():
    holds = np.zeros((100, 2), bool)
    holds[:99, 0] = holds[99:, 1] = True
    rare = (drawn(holds) == 99).mean()
    assert rare == pytest.approx(0.5, abs=0.02)


def test_classes_without_a_file_are_never_drawn():
    holds = np.zeros((3, 3), bool)
    holds[:, 1] = True
    assert set(drawn(holds)) == {0, 1, 2}
    with pytest.raises(ValueError, match="task=scan"):
        drawn(np.zeros((3, 3), bool))


@pytest.mark.parametrize("files", [1, 2])
def test_one_or_two_files_are_all_drawn_again(files):
    assert np.bincount(drawn(np.ones((files, 1), bool))).tolist() == [BLOCK // files] * files


def test_the_release_leaves_one_file_of_each_further_pass_out():
    holds = np.ones((5, 1), bool)
    # Five in file order, then four of a shuffled five each time.
    official = drawn(holds)
    assert official[:5].tolist() == [0, 1, 2, 3, 4]
    passes = official[5 : 5 + 4 * 100].reshape(100, 4)
    assert all(len(set(one)) == 4 for one in passes.tolist())
    fixed = drawn(holds, skip_first=False)
    assert all(len(set(one)) == 5 for one in fixed.reshape(-1, 5).tolist())


def test_rare_classes_by_hand():
    found = rare_class_probability(np.array([0.9, 0.1]), temperature=0.4)
    # The ratio is exp((0.9 - 0.1) / 0.4).
    assert found[1] / found[0] == pytest.approx(math.e**2)
    assert found.sum() == pytest.approx(1)


def test_classes_that_never_occur_are_never_drawn():
    found = rare_class_probability(np.array([0.7, 0.0, 0.3]), temperature=0.01)
    assert found[1] == 0 and found.sum() == pytest.approx(1)
    allowed = np.array([True, True, False])
    only = rare_class_probability(np.array([0.7, 0.0, 0.3]), temperature=0.01, allowed=allowed)
    assert only.tolist() == [1, 0, 0]


def test_a_low_temperature_overflows_nothing():
    frequency = np.array([1 - 1e-9, 1e-9])
    assert rare_class_probability(frequency, temperature=1e-4).tolist() == [0, 1]
    with pytest.raises(ValueError, match="positive"):
        rare_class_probability(np.array([1.0]), temperature=0.0)
