"""Intervals, tests and ranges: values worked out by hand or by another road."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from uda_hydra.studies.report.statistics import (
    around,
    effect,
    estimate,
    front,
    paired,
    rank_correlation,
)


def test_interval_of_three_seeds_by_hand():
    # Mean 2, standard deviation 1, t(0.975, 2) = 4.302653.
    found = estimate([1.0, 2.0, 3.0])
    half = 4.302653 / math.sqrt(3)
    assert (found.mean, found.std, found.n) == (2.0, 1.0, 3)
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half), rel=1e-6)


@pytest.mark.parametrize("values", [[], [0.3]])
def test_one_seed_has_no_interval_and_tells_no_difference(values):
    found = estimate(values)
    assert math.isnan(found.low) and math.isnan(found.high) and math.isnan(found.std)
    assert not found.differs


def test_interval_holds_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    found = [estimate(list(rng.normal(1, 2, 3))) for _ in range(2000)]
    held = sum(one.low <= 1 <= one.high for one in found) / 2000
    assert held == pytest.approx(0.95, abs=0.02)


def test_pairing_takes_out_what_the_seeds_share():
    first = {0: 10.1, 1: 20.2, 2: 30.0}
    second = {0: 9.0, 1: 19.0, 2: 29.0, 3: 99.0}
    found = paired(first, second)
    expected = stats.ttest_rel([10.1, 20.2, 30.0], [9.0, 19.0, 29.0]).confidence_interval(0.95)
    assert found.n == 3
    assert (found.low, found.high) == pytest.approx(tuple(expected))
    assert found.differs


def test_many_comparisons_widen_the_interval_as_bonferroni_says():
    first, second = {0: 1.0, 1: 2.0, 2: 4.0}, {0: 0.0, 1: 0.0, 2: 0.0}
    found = paired(first, second, comparisons=5)
    expected = stats.ttest_rel([1.0, 2.0, 4.0], [0.0, 0.0, 0.0]).confidence_interval(0.99)
    assert (found.low, found.high) == pytest.approx(tuple(expected))


def test_best_of_equal_points_is_rarely_told_to_differ():
    # Eight points that do not differ: the best one beats the first by luck alone.
    rng = np.random.default_rng(1)
    alone = together = 0
    for _ in range(1000):
        table = rng.normal(size=(3, 8)) + rng.normal(size=(3, 1))
        best = int(table.mean(axis=0).argmax())
        first, second = (dict(enumerate(map(float, table[:, i]))) for i in (best, 0))
        if best:
            alone += paired(first, second).differs
            together += paired(first, second, comparisons=7).differs
    assert together / 1000 < 0.05 < alone / 1000


def test_effect_is_the_f_test_of_a_randomised_block_design():
    # Two points: the F-test is the square of the paired t-test.
    table = np.asarray([[1.0, 1.5], [2.0, 2.2], [3.0, 3.9]])
    assert effect(table) == pytest.approx(float(stats.ttest_rel(table[:, 0], table[:, 1]).pvalue))


def test_effect_ignores_what_a_seed_adds_to_all_points():
    table = np.random.default_rng(2).normal(size=(4, 5))
    shifted = table + np.asarray([[0.0], [10.0], [-20.0], [5.0]])
    assert effect(shifted) == pytest.approx(effect(table))


def test_effect_needs_two_seeds_and_two_points():
    assert math.isnan(effect(np.ones((1, 5))))
    assert math.isnan(effect(np.ones((3, 1))))


def test_effect_without_noise():
    assert effect(np.ones((3, 4))) == 1.0
    assert effect(np.ones((3, 1)) * np.asarray([[1.0, 2.0]])) == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_rank_correlation_is_spearmans(seed):
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, 5, 12).tolist(), rng.normal(size=12).tolist()
    first = [float(value) for value in first]
    assert rank_correlation(first, second) == pytest.approx(stats.spearmanr(first, second)[0])


def test_rank_correlation_of_too_little_is_not_a_number():
    assert math.isnan(rank_correlation([1.0, 2.0], [2.0, 1.0]))
    assert math.isnan(rank_correlation([1.0, 1.0, 1.0], [2.0, 1.0, 3.0]))


@pytest.mark.parametrize(
    ("costs", "ends"),
    [
        ([0.2, 0.0, 1.0, 1.1, 0.1], (0, 2)),  # what lies behind a gap is not in the range
        ([2.0, 0.0, 2.0], (1, 1)),
        ([0.0], (0, 0)),
        ([1.0, 1.0, 0.0], (0, 2)),  # the border belongs to it
    ],
)
def test_range_is_contiguous_around_the_best(costs, ends):
    assert around(costs, 1.0) == ends


def test_front_against_a_loop():
    values = np.random.default_rng(3).integers(0, 6, (40, 2)).astype(np.float64)
    slow = [
        i
        for i, one in enumerate(values)
        if not any(all(other <= one) and any(other < one) for other in values)
    ]
    assert front(values) == slow
