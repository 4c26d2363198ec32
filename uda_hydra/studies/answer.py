"""What a study answers: the best point, the robust range and the differences, as numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64

from uda_hydra.studies.points import Curve, Point, Points, score, usable
from uda_hydra.studies.quantities import Quantity
from uda_hydra.studies.records import Study, Trial
from uda_hydra.studies.statistics import Estimate, around, effect, front, paired

WITHIN = 1.0
"""Default width of the robust range: points for shares, else percent of the best mean."""


@dataclass(frozen=True, eq=False)
class Range:
    """The robust range of a curve: the best value and its neighbours within the tolerance."""

    curve: Curve
    best: Point
    points: tuple[Point, ...]
    """All of them compared, by increasing value; for categories not only neighbours."""
    open_below: bool
    """Whether it reaches the smallest value that was tried."""
    open_above: bool
    effect: float
    """Chance of such differences along the curve if the value did not matter; nan: not known."""


@dataclass(frozen=True, eq=False)
class Answer:
    """Every number of the report of a study, computed when asked for."""

    study: Study
    within_best: float = WITHIN
    """Width of the robust range: points for shares, else percent of the best mean."""

    @cached_property
    def points(self) -> Points:
        """The complete trials, gathered over seeds."""
        return Points(self.study)

    @property
    def key(self) -> str:
        """Of the first objective, which decides what is best."""
        return self.study.objectives[0]

    @cached_property
    def objective(self) -> Quantity:
        """The first objective."""
        return Quantity(self.key)

    @property
    def sign(self) -> int:
        """+1 where large values are good, -1 where small ones are."""
        return 1 if self.study.directions[0] == "maximize" else -1

    @cached_property
    def tolerance(self) -> float:
        """Within how much of the best mean a point is as good, in shown units."""
        if self.objective.is_share or self.best is None:
            return self.within_best
        return self.within_best / 100 * abs(self.mean(self.best).mean)

    def mean(self, point: Point) -> Estimate:
        """The objective of a point."""
        return self.points.mean(point, self.key)

    def cost(self, point: Point, best: Point) -> float:
        """How much worse a point's mean is, in shown units."""
        return self.sign * (self.mean(best).mean - self.mean(point).mean)

    def best_of(self, points: tuple[Point, ...]) -> Point | None:
        """The compared point with the best mean."""
        compared = [point for point in points if point in self.points.compared]
        return max(compared, key=lambda p: self.sign * self.mean(p).mean, default=None)

    @cached_property
    def best(self) -> Point | None:
        """Over the whole study; None before the first complete trial."""
        return self.best_of(self.points.compared)

    @cached_property
    def ranges(self) -> tuple[Range, ...]:
        """One for each curve that has compared points."""
        return tuple(r for r in map(self._range, self.points.curves) if r is not None)

    @cached_property
    def within(self) -> tuple[Point, ...]:
        """All compared points within the tolerance of the best, neighbours or not."""
        if self.best is None:
            return ()
        reach = self.tolerance + 1e-9
        return tuple(p for p in self.points.compared if self.cost(p, self.best) <= reach)

    def against_reference(self, point: Point, key: str, comparisons: int = 1) -> Estimate:
        """A point minus the paper's over the compared seeds, in shown units."""
        reference = self.points.reference
        assert reference is not None, "asked without a reference point"
        seeds = self.points.seeds
        return paired(point.scores(key, seeds), reference.scores(key, seeds), comparisons)

    @cached_property
    def front(self) -> tuple[Point, ...]:
        """Of several objectives: the points that none beats in all, by the first objective."""
        keys = self.study.objectives
        table = [[self.points.mean(p, key).mean for key in keys] for p in self.points.compared]
        rows = [i for i, row in enumerate(table) if all(map(math.isfinite, row))]
        if not rows:
            return ()
        signs = [-1.0 if d == "maximize" else 1.0 for d in self.study.directions]
        small = np.asarray([table[i] for i in rows]) * np.asarray(signs)
        points = [self.points.compared[rows[i]] for i in front(small)]
        return tuple(sorted(points, key=lambda p: self.mean(p).mean))

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that the results score."""
        keys = {k: None for t in self.complete for k in t.result if k.startswith("iou/")}
        return tuple(key.removeprefix("iou/") for key in keys)

    @cached_property
    def complete(self) -> tuple[Trial, ...]:
        """The trials that count, by number."""
        return tuple(sorted(filter(usable, self.study.trials), key=lambda trial: trial.number))

    @cached_property
    def not_finite(self) -> tuple[Trial, ...]:
        """Complete, but without an objective that is a number."""
        return tuple(t for t in self.study.trials if t.state == "complete" and not usable(t))

    def value(self, trial: Trial, key: str) -> float:
        """A number of a trial in shown units; nan where it has none."""
        return score(trial, key, self.study.objectives)

    def table(self, points: tuple[Point, ...]) -> Float64[np.ndarray, "seeds points"]:
        """The objective of compared points."""
        columns = [[p.scores(self.key)[seed] for p in points] for seed in self.points.seeds]
        return np.asarray(columns, dtype=np.float64).reshape(len(self.points.seeds), len(points))

    def _range(self, curve: Curve) -> Range | None:
        compared = tuple(p for p in curve.points if p in self.points.compared)
        best = self.best_of(compared)
        if best is None:
            return None
        costs = [self.cost(point, best) for point in compared]
        chance = effect(self.table(compared))
        assert self.points.axis is not None
        if not self.points.is_number(self.points.axis):
            near = [p for p, c in zip(compared, costs, strict=True) if c <= self.tolerance + 1e-9]
            return Range(curve, best, tuple(near), False, False, chance)
        first, last = around(costs, self.tolerance)
        below, above = first == 0, last == len(costs) - 1
        return Range(curve, best, compared[first : last + 1], below, above, chance)
