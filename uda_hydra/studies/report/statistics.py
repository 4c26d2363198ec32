"""Intervals and tests over seeds. Trials with the same seed are paired: only the point differs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float64
from scipy import stats

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and its t-interval; the ends are nan where one seed leaves it open."""

    mean: float
    low: float
    high: float
    std: float
    """Standard deviation of the sample (divisor n - 1); nan for one seed."""
    n: int

    @property
    def differs(self) -> bool:
        """Whether zero lies outside the interval; never with one seed."""
        return self.n > 1 and not self.low <= 0 <= self.high


def estimate(values: Sequence[float], level: float = LEVEL) -> Estimate:
    """Mean and Student's t-interval of a sample of seeds."""
    sample, n = np.asarray(values, dtype=np.float64), len(values)
    if n < 2:
        mean = float(sample[0]) if n else math.nan
        return Estimate(mean, math.nan, math.nan, math.nan, n)
    mean, std = float(sample.mean()), float(sample.std(ddof=1))
    half = _quantile((1 + level) / 2, n - 1) * std / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half, std, n)


@lru_cache
def _quantile(probability: float, freedom: int) -> float:
    """Student's t; scipy takes 0.1 ms, and a report of thousands of points asks for few others."""
    return float(stats.t.ppf(probability, freedom))


def paired(
    first: Mapping[int, float], second: Mapping[int, float], comparisons: int = 1
) -> Estimate:
    """``first`` minus ``second`` over the seeds that both have.

    The interval holds for ``comparisons`` such differences together (Bonferroni): the best of
    many points looks better than it is.
    """
    seeds = sorted(first.keys() & second.keys())
    level = 1 - (1 - LEVEL) / max(comparisons, 1)
    return estimate([first[seed] - second[seed] for seed in seeds], level)


def effect(table: Float64[np.ndarray, "seeds points"]) -> float:
    """Chance of differences between points as large as these if the point did not matter.

    The F-test of a two-way layout without interaction, seeds as blocks; nan with fewer than two
    seeds or points.
    """
    seeds, points = table.shape
    if seeds < 2 or points < 2:
        return math.nan
    means = table.mean(axis=0)
    rest = table - means - table.mean(axis=1, keepdims=True) + table.mean()
    between = seeds * float(((means - table.mean()) ** 2).sum()) / (points - 1)
    within = float((rest**2).sum()) / ((points - 1) * (seeds - 1))
    if within <= 1e-18 * float((table**2).mean()):
        return 0.0 if between > within else 1.0
    return float(stats.f.sf(between / within, points - 1, (points - 1) * (seeds - 1)))


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's, in [-1, 1], ties at their mean rank; nan below three pairs or for a constant."""
    if len(first) < 3 or len(set(first)) == 1 or len(set(second)) == 1:
        return math.nan
    ranks = stats.rankdata(first), stats.rankdata(second)
    return float(np.corrcoef(*ranks)[0, 1])


def around(costs: Sequence[float], tolerance: float) -> tuple[int, int]:
    """First and last position of the neighbours of the cheapest that cost at most ``tolerance``.

    ``costs`` are differences to the best, in the order of the swept value; the best costs 0.
    """
    first = last = int(np.argmin(costs))
    reach = tolerance + 1e-9
    while first > 0 and costs[first - 1] <= reach:
        first -= 1
    while last + 1 < len(costs) and costs[last + 1] <= reach:
        last += 1
    return first, last


def front(values: Float64[np.ndarray, "points objectives"]) -> list[int]:
    """Positions of the points that no other point beats; every objective is to be small."""
    beaten = [
        bool(((values <= one).all(axis=1) & (values < one).any(axis=1)).any()) for one in values
    ]
    return [position for position, lost in enumerate(beaten) if not lost]
