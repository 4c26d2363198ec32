"""Model selection without target labels: what label-free scores would have chosen."""

from __future__ import annotations

import math
from dataclasses import dataclass

from uda_hydra.engine.label_free import DIRECTIONS
from uda_hydra.studies.report.analyse import StudyAnalysis
from uda_hydra.studies.report.metrics import Metric
from uda_hydra.studies.report.points import PointResults
from uda_hydra.studies.report.statistics import Estimate, estimate, rank_correlation

TARGET = "miou/last"
"""The metric that a label-free score stands in for."""


@dataclass(frozen=True, eq=False)
class Choice:
    """The point that a label-free score would have chosen."""

    metric: Metric
    low_is_good: bool
    correlation: Estimate
    """Spearman's correlation with target mIoU over points, one per seed; +1: the same order."""
    points: int
    """The number of compared points that have both metrics."""
    chosen: PointResults
    """The point with the best mean of the score."""
    best: PointResults
    """The point with the best mean target mIoU."""
    cost: float
    """Target mIoU lost by choosing so, in points of percent."""
    chance: float
    """The expected loss of a point chosen at random."""


def choices(analysis: StudyAnalysis) -> tuple[Choice, ...]:
    """The choice of each score that at least two compared points have."""
    found = (_choice(analysis, key, direction) for key, direction in DIRECTIONS.items())
    return tuple(choice for choice in found if choice is not None)


def _choice(analysis: StudyAnalysis, key: str, direction: str) -> Choice | None:
    seeds = analysis.points.seeds
    points = [
        point
        for point in analysis.points.compared
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
        Metric(key),
        direction == "minimize",
        estimate([value for value in by_seed if math.isfinite(value)]),
        len(points),
        chosen,
        best,
        means[best] - means[chosen],
        means[best] - sum(means.values()) / len(points),
    )
