"""The points of a study: its complete trials, gathered over seeds and laid out as curves."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise

from uda_hydra.files import is_number
from uda_hydra.studies.quantities import Quantity, written
from uda_hydra.studies.records import Study, Trial, Value
from uda_hydra.studies.statistics import Estimate, estimate

MANY = 3
"""A second parameter of more than this many numbers is no longer drawn as curves."""
MOST_CURVES = 6
"""As many as can be told apart."""
WIDE = 20
"""Above this ratio of the largest to the smallest value an axis is logarithmic in any case."""


@dataclass(frozen=True, eq=False)
class Point:
    """One setting of the swept keys and its complete trials."""

    params: dict[str, Value]
    trials: dict[int, Trial]
    """By seed."""
    objectives: tuple[str, ...]

    def scores(self, key: str, seeds: Iterable[int] | None = None) -> dict[int, float]:
        """A key of the results by seed, in shown units, where it is a finite number."""
        chosen = self.trials if seeds is None else [s for s in seeds if s in self.trials]
        values = {seed: score(self.trials[seed], key, self.objectives) for seed in chosen}
        return {seed: value for seed, value in values.items() if math.isfinite(value)}

    def mean(self, key: str, seeds: Iterable[int] | None = None) -> Estimate:
        """Over seeds, in shown units."""
        return estimate([*self.scores(key, seeds).values()])

    @property
    def name(self) -> str:
        """Its values as overrides."""
        return named(self.params)


@dataclass(frozen=True, eq=False)
class Curve:
    """Points that differ in one swept key alone, by increasing value."""

    fixed: dict[str, Value]
    """The other swept keys; empty where there is one curve."""
    points: tuple[Point, ...]

    @property
    def name(self) -> str:
        """What sets it apart; empty where there is one curve."""
        return named(self.fixed)


@dataclass(frozen=True, eq=False)
class Points:
    """All points of a study, and which of them can be compared."""

    study: Study

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The swept keys."""
        keys = [*self.study.space, *(key for t in self.study.trials for key in t.params)]
        return tuple(dict.fromkeys(keys))

    @cached_property
    def all(self) -> tuple[Point, ...]:
        """In the order of their values; a seed that was repeated counts with its last trial."""
        gathered: dict[tuple[Value, ...], dict[int, Trial]] = {}
        for trial in sorted(self.study.trials, key=lambda trial: trial.number):
            if usable(trial):
                gathered.setdefault(self._values(trial.params), {})[trial.seed] = trial
        points = [
            Point(dict(zip(self.keys, values, strict=True)), trials, self.study.objectives)
            for values, trials in gathered.items()
        ]
        return tuple(sorted(points, key=lambda point: [_order(v) for v in point.params.values()]))

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """Over which points are compared: those that most trials of whole points have."""
        owned = Counter(frozenset(point.trials) for point in self.all)
        sets = {a & b for a, b in combinations(owned, 2)} | set(owned)
        sets.discard(frozenset())

        def held(seeds: frozenset[int]) -> tuple[int, int, list[int]]:
            points = sum(count for own, count in owned.items() if seeds <= own)
            return len(seeds) * points, len(seeds), [-seed for seed in sorted(seeds)]

        return tuple(sorted(max(sets, key=held))) if sets else ()

    @cached_property
    def compared(self) -> tuple[Point, ...]:
        """The points that have all of ``seeds``; the others are shown but not ranked."""
        return tuple(point for point in self.all if set(self.seeds) <= point.trials.keys())

    @cached_property
    def reference(self) -> Point | None:
        """The paper's point, if it is among those compared."""
        return next((p for p in self.compared if same(p.params, self.study.reference)), None)

    def mean(self, point: Point, key: str) -> Estimate:
        """Over the compared seeds; over its own where the point is not compared."""
        return point.mean(key, self.seeds if point in self.compared else None)

    def tried(self, key: str) -> list[Value]:
        """The values of a swept key that have a complete trial, in order."""
        return self._tried[key]

    @cached_property
    def _tried(self) -> dict[str, list[Value]]:
        values = {key: {point.params[key] for point in self.all} for key in self.keys}
        return {key: sorted(some, key=_order) for key, some in values.items()}

    def is_number(self, key: str) -> bool:
        """Whether all that was tried of a key, and its reference, can lie on an axis."""
        return self.scale(key) != "category"

    def scale(self, key: str) -> str:
        """Of an axis: linear, log, or symlog (log with a zero); category where it is none."""
        return self._scales[key]

    @cached_property
    def _scales(self) -> dict[str, str]:
        return {key: self._scale(key) for key in self.keys}

    def _scale(self, key: str) -> str:
        values = [*self.tried(key), self.study.reference.get(key, 0)]
        if not all(is_number(v) for v in values):
            return "category"
        sizes = [float(v) for v in [*self.tried(key), self.study.reference.get(key, 1)]]
        positive = [size for size in sizes if size > 0]
        if min(sizes) < 0 or not positive:
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
        tried = self.tried(key)
        found = [place for place, other in enumerate(tried) if equal(value, other)]
        return float(found[0] if found else len(tried))

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
    def curves(self) -> tuple[Curve, ...]:
        """Along ``axis``; none where there is no axis."""
        gathered: dict[tuple[Value, ...], list[Point]] = {}
        others = [key for key in self.keys if key != self.axis]
        for point in self.all if self.axis else ():
            gathered.setdefault(tuple(point.params[key] for key in others), []).append(point)
        return tuple(
            Curve(dict(zip(others, fixed, strict=True)), tuple(points))
            for fixed, points in gathered.items()
        )

    def _values(self, params: dict[str, Value]) -> tuple[Value, ...]:
        return tuple(params.get(key) for key in self.keys)


def usable(trial: Trial) -> bool:
    """Whether a trial is complete and its first objective a number."""
    return trial.state == "complete" and bool(trial.values) and math.isfinite(trial.values[0])


def score(trial: Trial, key: str, objectives: Sequence[str]) -> float:
    """A key of a trial's result in shown units; nan where it has none."""
    if key in objectives and trial.values:
        value = trial.values[objectives.index(key)]
    else:
        value = trial.result.get(key)
    number = is_number(value)
    return float(value) * Quantity(key).scale if number else math.nan


def named(params: dict[str, Value]) -> str:
    """Values of swept keys as overrides."""
    return " ".join(f"{key}={written(value)}" for key, value in params.items())


def same(first: dict[str, Value], second: dict[str, Value]) -> bool:
    """Whether two points agree in the keys of the first."""
    return all(key in second and equal(value, second[key]) for key, value in first.items())


def equal(first: Value, second: Value) -> bool:
    """Whether two swept values are one; numbers may differ in the last digits."""
    numbers = [is_number(v) for v in (first, second)]
    if all(numbers):
        return math.isclose(first, second, rel_tol=1e-9)
    return first == second and type(first) is type(second)


def _order(value: Value) -> tuple[int, float, str]:
    """Numbers first by size, then everything else by name."""
    if is_number(value):
        return 0, float(value), ""
    return 1, 0.0, written(value)


def _evenness(places: Sequence[float]) -> float:
    """Distance of the closest two places in parts of the whole span; 0 for one place."""
    ordered = sorted({*places})
    gaps = [b - a for a, b in pairwise(ordered)]
    return min(gaps) / (ordered[-1] - ordered[0]) if gaps else 0.0
