"""The points of a study: its complete trials, grouped by point and laid out as curves."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from uda_hydra.files import is_number
from uda_hydra.studies.records import Point, Study, Trial, Value, value_key
from uda_hydra.studies.report.metrics import Metric, shown_value
from uda_hydra.studies.report.statistics import Estimate, estimate

MANY = 3
"""A second key with more numbers than this is not drawn as curves."""
MOST_CURVES = 6
"""The number of curves that can be distinguished in one figure."""
WIDE = 20
"""Above this ratio of the largest to the smallest value an axis is logarithmic in any case."""


@dataclass(frozen=True, eq=False)
class PointResults:
    """The complete trials of one point, by seed."""

    params: Point
    trials: dict[int, Trial]
    objectives: tuple[str, ...]

    def scores(self, key: str, seeds: Iterable[int] | None = None) -> dict[int, float]:
        """A metric by seed, in shown units, where it is a finite number."""
        chosen = self.trials if seeds is None else [s for s in seeds if s in self.trials]
        values = {seed: score(self.trials[seed], key, self.objectives) for seed in chosen}
        return {seed: value for seed, value in values.items() if math.isfinite(value)}

    def mean(self, key: str, seeds: Iterable[int] | None = None) -> Estimate:
        """The mean of a metric over seeds, in shown units."""
        return estimate([*self.scores(key, seeds).values()])

    @property
    def name(self) -> str:
        """The values of the point as overrides."""
        return shown_point(self.params)


@dataclass(frozen=True, eq=False)
class ResponseCurve:
    """Points that differ in one swept key alone, by increasing value."""

    fixed: Point
    """The values of the other swept keys; empty where there is one curve."""
    points: tuple[PointResults, ...]

    @property
    def name(self) -> str:
        """The values that distinguish the curve; empty where there is one curve."""
        return shown_point(self.fixed)


@dataclass(frozen=True, eq=False)
class StudyPoints:
    """All points of a study, and which of them can be compared."""

    study: Study

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The swept keys."""
        keys = [*self.study.space, *(key for t in self.study.trials for key in t.params)]
        return tuple(dict.fromkeys(keys))

    @cached_property
    def all(self) -> tuple[PointResults, ...]:
        """The points, ordered by their values; of a repeated seed the last trial counts."""
        gathered: dict[tuple[Any, ...], dict[int, Trial]] = {}
        for trial in sorted(self.study.trials, key=lambda trial: trial.number):
            if usable(trial):
                point = tuple(value_key(trial.params.get(key)) for key in self.keys)
                gathered.setdefault(point, {})[trial.seed] = trial
        points = [
            PointResults(
                {key: trials[min(trials)].params.get(key) for key in self.keys},
                trials,
                self.study.objectives,
            )
            for trials in gathered.values()
        ]
        return tuple(sorted(points, key=lambda point: [_order(v) for v in point.params.values()]))

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """The seeds over which points are compared: those that keep the most trials.

        Points with seeds {0, 1, 2}, {0, 1} and {0, 1}: (0, 1) keeps three points with two trials
        each, (0, 1, 2) one point with three, so (0, 1) it is.
        """
        owned = Counter(frozenset(point.trials) for point in self.all)
        sets: set[frozenset[int]] = set()
        for own in owned:
            sets |= {own, *(own & known for known in sets)}
        sets.discard(frozenset())

        def kept_trials(seeds: frozenset[int]) -> tuple[int, int, list[int]]:
            points = sum(count for own, count in owned.items() if seeds <= own)
            return len(seeds) * points, len(seeds), [-seed for seed in sorted(seeds)]

        return tuple(sorted(max(sets, key=kept_trials))) if sets else ()

    @cached_property
    def compared(self) -> tuple[PointResults, ...]:
        """The points that have all of ``seeds``; the others are shown but not ranked."""
        return tuple(point for point in self.all if self.is_compared(point))

    def is_compared(self, point: PointResults) -> bool:
        """Whether a point has all of ``seeds``."""
        return point.trials.keys() >= set(self.seeds)

    @cached_property
    def reference(self) -> PointResults | None:
        """The reference, if it is among those compared."""
        return next((p for p in self.compared if same(p.params, self.study.reference)), None)

    def lost(self, curve: ResponseCurve) -> list[Value]:
        """The values along a curve that are not compared and where a training gave no number."""
        assert self.axis is not None, "a curve lies on an axis"
        kept = {value_key(p.params[self.axis]) for p in curve.points if self.is_compared(p)}
        return _distinct(
            trial.params.get(self.axis)
            for trial in self.study.trials
            if trial.state in ("failed", "pruned", "complete")
            and not usable(trial)
            and same(curve.fixed, trial.params)
            and value_key(trial.params.get(self.axis)) not in kept
        )

    def mean(self, point: PointResults, key: str) -> Estimate:
        """The mean over the compared seeds, or over the point's own where it is not compared."""
        if (point, key) not in self._means:
            seeds = self.seeds if self.is_compared(point) else None
            self._means[point, key] = point.mean(key, seeds)
        return self._means[point, key]

    @cached_property
    def _means(self) -> dict[tuple[PointResults, str], Estimate]:
        """The means so far: thousands of points are asked for theirs many times."""
        return {}

    def tried(self, key: str) -> list[Value]:
        """The values of a swept key that have a complete trial, in order."""
        return self._tried[key]

    @cached_property
    def _tried(self) -> dict[str, list[Value]]:
        return {key: _distinct(point.params[key] for point in self.all) for key in self.keys}

    def is_number(self, key: str) -> bool:
        """Whether all that was tried of a key, and its reference, can lie on an axis."""
        return self.scale(key) != "category"

    def scale(self, key: str) -> str:
        """The scale of a key's axis: linear, log, symlog (log with a zero) or category."""
        return self._scales[key]

    @cached_property
    def _scales(self) -> dict[str, str]:
        return {key: self._scale(key) for key in self.keys}

    def _scale(self, key: str) -> str:
        reference = self.study.reference
        values = [*self.tried(key), *([reference[key]] if key in reference else [])]
        if not all(is_number(v) for v in values):
            return "category"
        sizes = [float(v) for v in values]
        positive = [size for size in sizes if size > 0]
        if not positive or min(sizes) < 0:
            return "linear"
        space = self.study.space.get(key, "")
        wide = max(positive) > WIDE * min(positive) or re.search(r"\blog(space)?\b", space)
        listed = "interval" not in space
        logs = [1 + math.log(size / min(positive)) if size else 0.0 for size in sizes]
        if wide or (listed and _evenness(logs) > _evenness(sizes)):
            return "log" if min(sizes) > 0 else "symlog"
        return "linear"

    def place(self, key: str, value: Value) -> float:
        """Where a value lies on the axis of its key; categories stand side by side."""
        if self.is_number(key):
            return float(value)
        return float(self._categories[key].get(value_key(value), len(self.tried(key))))

    @cached_property
    def _categories(self) -> dict[str, dict[Any, int]]:
        return {
            key: {value_key(value): place for place, value in enumerate(self.tried(key))}
            for key in self.keys
        }

    def measure(self, key: str, value: Value) -> float:
        """Like ``place``, but equal steps look equal: exponents where the axis is logarithmic."""
        place = self.place(key, value)
        if self.scale(key) == "log":
            return math.log10(place)
        if self.scale(key) == "symlog":
            smallest = min(float(v) for v in self.tried(key) if v > 0)
            return 1 + math.log10(place / smallest) if place else 0.0
        return place

    @cached_property
    def axis(self) -> str | None:
        """The key along which curves are drawn; None where there are too many parameters."""
        if not self.keys:
            return None
        # The longest numeric key; a category where there is no number.
        axis = max(self.keys, key=lambda key: (self.is_number(key), len(self.tried(key))))
        others = [key for key in self.keys if key != axis]
        curves = math.prod(len(self.tried(key)) for key in others)
        long = any(self.is_number(key) and len(self.tried(key)) > MANY for key in others)
        return None if long or curves > MOST_CURVES else axis

    @cached_property
    def curves(self) -> tuple[ResponseCurve, ...]:
        """The curves along ``axis``; none where there is no axis."""
        gathered: dict[tuple[Value, ...], list[PointResults]] = {}
        others = [key for key in self.keys if key != self.axis]
        for point in self.all if self.axis else ():
            gathered.setdefault(tuple(point.params[key] for key in others), []).append(point)
        return tuple(
            ResponseCurve(dict(zip(others, fixed, strict=True)), tuple(points))
            for fixed, points in gathered.items()
        )


def usable(trial: Trial) -> bool:
    """Whether a trial is complete and its first objective a number."""
    return trial.state == "complete" and bool(trial.values) and math.isfinite(trial.values[0])


def score(trial: Trial, key: str, objectives: Sequence[str]) -> float:
    """A key of a trial's result in shown units; nan where it has none."""
    if key in objectives and trial.values:
        value = trial.values[objectives.index(key)]
    else:
        value = trial.result.get(key)
    return float(value) * Metric(key).scale if is_number(value) else math.nan


def shown_point(params: Point) -> str:
    """Values of swept keys as overrides."""
    return " ".join(f"{key}={shown_value(value)}" for key, value in params.items())


def same(first: Point, second: Point) -> bool:
    """Whether two points agree in the keys of the first."""
    return all(key in second and equal(value, second[key]) for key, value in first.items())


def equal(first: Value, second: Value) -> bool:
    """Whether two swept values are one; numbers may differ in the last digits."""
    if is_number(first) and is_number(second):
        return math.isclose(first, second, rel_tol=1e-9)
    return first == second and type(first) is type(second)


def _distinct(values: Iterable[Value]) -> list[Value]:
    return sorted({value_key(value): value for value in values}.values(), key=_order)


def _order(value: Value) -> tuple[int, float, str]:
    """Numbers first by size, then everything else by name."""
    if is_number(value):
        return 0, float(value), ""
    return 1, 0.0, shown_value(value)


def _evenness(places: Sequence[float]) -> float:
    """The smallest gap between two places as a fraction of the whole span; 0 for one place."""
    ordered = sorted({*places})
    gaps = [b - a for a, b in pairwise(ordered)]
    return min(gaps) / (ordered[-1] - ordered[0]) if gaps else 0.0
