"""Every number of a report: the best point, the robust range, differences, the Pareto front."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64

from uda_hydra.files import is_number
from uda_hydra.studies.records import Study, Trial
from uda_hydra.studies.report.metrics import UNITS, Metric
from uda_hydra.studies.report.points import PointResults, ResponseCurve, StudyPoints, score, usable
from uda_hydra.studies.report.statistics import Estimate, around, effect, front, paired

WITHIN = 1.0
"""Default width of the robust range: points for shares, else percent of the best mean."""


@dataclass(frozen=True, eq=False)
class Range:
    """The robust range of a curve: the best value and its neighbours within the tolerance.

    It ends at a value that is not compared because a training there failed or was pruned.
    """

    curve: ResponseCurve
    best: PointResults
    points: tuple[PointResults, ...]
    """Compared points by increasing value; for categories, not only neighbours of the best."""
    open_below: bool
    """Whether it reaches the smallest value that was tried."""
    open_above: bool
    effect: float
    """p-value: the chance of such differences if the value did not matter; nan: not known."""


@dataclass(frozen=True, eq=False)
class StudyAnalysis:
    """Every number of the report of a study, computed on first use."""

    study: Study
    within_best: float = WITHIN
    """Width of the robust range: points for shares, else percent of the best mean."""

    @cached_property
    def points(self) -> StudyPoints:
        """The complete trials, grouped by point."""
        return StudyPoints(self.study)

    @property
    def key(self) -> str:
        """The key of the first objective, which decides what is best."""
        return self.study.objectives[0]

    @cached_property
    def objective(self) -> Metric:
        """The first objective."""
        return Metric(self.key)

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

    def mean(self, point: PointResults) -> Estimate:
        """The objective of a point."""
        return self.points.mean(point, self.key)

    def cost(self, point: PointResults, best: PointResults) -> float:
        """How much worse a point's mean is, in shown units."""
        return self.sign * (self.mean(best).mean - self.mean(point).mean)

    def best_of(self, points: tuple[PointResults, ...]) -> PointResults | None:
        """The compared point with the best mean."""
        compared = filter(self.points.is_compared, points)
        return max(compared, key=lambda p: self.sign * self.mean(p).mean, default=None)

    @cached_property
    def best(self) -> PointResults | None:
        """The best compared point of the study; None before the first complete trial."""
        return self.best_of(self.points.compared)

    @cached_property
    def ranges(self) -> tuple[Range, ...]:
        """One for each curve that has compared points."""
        return tuple(r for r in map(self._range, self.points.curves) if r is not None)

    @cached_property
    def within(self) -> tuple[PointResults, ...]:
        """All compared points within the tolerance of the best, neighbours or not."""
        if self.best is None:
            return ()
        reach = self.tolerance + 1e-9
        return tuple(p for p in self.points.compared if self.cost(p, self.best) <= reach)

    def against_reference(self, point: PointResults, key: str, comparisons: int = 1) -> Estimate:
        """A point minus the reference over the compared seeds, in shown units."""
        reference = self.points.reference
        assert reference is not None, "the reference is not compared"
        seeds = self.points.seeds
        return paired(point.scores(key, seeds), reference.scores(key, seeds), comparisons)

    @cached_property
    def front(self) -> tuple[PointResults, ...]:
        """The Pareto front: the points that none beats in all objectives, by the first one."""
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
    def equals(self) -> tuple[tuple[PointResults, ...], ...]:
        """Groups of compared points that have the same results at every seed.

        None where an objective is a cost, which no two trainings share.
        """
        if any(key in UNITS for key in self.study.objectives):
            return ()
        keys = [*self.study.objectives, *(f"iou/{name}" for name in self.classes)]
        gathered: dict[tuple[float, ...], list[PointResults]] = {}
        for point in self.points.compared:
            trials = [point.trials[seed] for seed in self.points.seeds]
            # What a trial lacks is written as -1: nan equals nothing.
            scores = [self.value(trial, key) for trial in trials for key in keys]
            same = tuple(-1.0 if math.isnan(value) else value for value in scores)
            gathered.setdefault(same, []).append(point)
        return tuple(tuple(group) for group in gathered.values() if len(group) > 1)

    @property
    def is_flat(self) -> bool:
        """Whether all compared points have the same results: the swept keys had no effect."""
        return any(len(group) == len(self.points.compared) for group in self.equals)

    @cached_property
    def zero_terms(self) -> dict[str, int]:
        """The terms of the loss that were 0 in every step of a training, and in how many."""
        found = (trial.result.get("zero_terms") for trial in self.complete)
        listed = [name for names in found if isinstance(names, list) for name in map(str, names)]
        return dict(Counter(listed))

    def idle_terms(self) -> dict[str, str]:
        """Swept weight to its term, where the term was 0 in every step of every training."""
        found = {}
        for key in self.points.keys:
            term = key.lstrip("+").replace("loss.lambda_", "loss/")
            weighted = [trial for trial in self.complete if trial.params.get(key) != 0]
            if weighted and self.zero_terms.get(term) == len(weighted):
                found[key] = term
        return found

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
        """Complete trials whose first objective is not a finite number."""
        return tuple(t for t in self.study.trials if t.state == "complete" and not usable(t))

    def value(self, trial: Trial, key: str) -> float:
        """A number of a trial in shown units; nan where it has none."""
        return score(trial, key, self.study.objectives)

    def table(self, points: tuple[PointResults, ...]) -> Float64[np.ndarray, "seeds points"]:
        """The objective of compared points."""
        columns = [[p.scores(self.key)[seed] for p in points] for seed in self.points.seeds]
        return np.asarray(columns, dtype=np.float64).reshape(len(self.points.seeds), len(points))

    def _range(self, curve: ResponseCurve) -> Range | None:
        compared = tuple(filter(self.points.is_compared, curve.points))
        best = self.best_of(compared)
        if best is None:
            return None
        costs = [self.cost(point, best) for point in compared]
        chance = effect(self.table(compared))
        axis = self.points.axis
        assert axis is not None
        if not self.points.is_number(axis):
            near = [p for p, c in zip(compared, costs, strict=True) if c <= self.tolerance + 1e-9]
            return Range(curve, best, tuple(near), False, False, chance)
        placed = [(float(p.params[axis]), c, p) for p, c in zip(compared, costs, strict=True)]
        # A value whose trainings diverged ends the range, and is no end that is open.
        placed += [(float(v), math.inf, best) for v in self.points.lost(curve) if is_number(v)]
        placed.sort(key=lambda one: one[0])
        first, last = around([cost for _, cost, _ in placed], self.tolerance)
        inside = tuple(point for _, _, point in placed[first : last + 1])
        return Range(curve, best, inside, first == 0, last == len(placed) - 1, chance)
