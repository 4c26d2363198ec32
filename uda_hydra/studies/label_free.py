"""What one would have chosen without target labels: scores that need none, against target mIoU."""

from __future__ import annotations

import math
from dataclasses import dataclass

from uda_hydra.engine.label_free import DIRECTIONS
from uda_hydra.studies.answer import Answer
from uda_hydra.studies.points import Point
from uda_hydra.studies.quantities import Quantity
from uda_hydra.studies.statistics import Estimate, estimate, rank_correlation

TARGET = "miou/last"
"""What one would like to choose by."""


@dataclass(frozen=True, eq=False)
class Choice:
    """What a label-free score would have chosen."""

    quantity: Quantity
    low_is_good: bool
    correlation: Estimate
    """Spearman's with target mIoU over points, one number per seed; +1: it orders as mIoU does."""
    points: int
    """Compared points that have both."""
    chosen: Point
    """With the best mean of the score."""
    best: Point
    """With the best mean target mIoU."""
    cost: float
    """Target mIoU lost by choosing so, in points of percent."""
    chance: float
    """The same for a point chosen blindly, on average."""


def choices(answer: Answer) -> tuple[Choice, ...]:
    """One for each score that at least two compared points have."""
    found = (_choice(answer, key, direction) for key, direction in DIRECTIONS.items())
    return tuple(choice for choice in found if choice is not None)


def _choice(answer: Answer, key: str, direction: str) -> Choice | None:
    seeds = answer.points.seeds
    points = [
        point
        for point in answer.points.compared
        if len(point.scores(key, seeds)) == len(point.scores(TARGET, seeds)) == len(seeds)
    ]
    if len(points) < 2:
        return None
    sign = 1 if direction == "maximize" else -1
    means = {point: point.mean(TARGET, seeds).mean for point in points}
    chosen = max(points, key=lambda point: sign * point.mean(key, seeds).mean)
    best = max(points, key=means.__getitem__)
    by_seed = [
        rank_correlation(
            [sign * point.scores(key)[seed] for point in points],
            [point.scores(TARGET)[seed] for point in points],
        )
        for seed in seeds
    ]
    return Choice(
        Quantity(key),
        direction == "minimize",
        estimate([value for value in by_seed if math.isfinite(value)]),
        len(points),
        chosen,
        best,
        means[best] - means[chosen],
        means[best] - sum(means.values()) / len(points),
    )
