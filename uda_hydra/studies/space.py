"""The search space of a study: the swept keys as written, its points and its reference."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from hydra.core.override_parser.types import Override, Transformer
from hydra_plugins.hydra_optuna_sweeper._impl import create_optuna_distribution_from_override
from omegaconf import DictConfig
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from uda_hydra.config import check_values
from uda_hydra.errors import UserError
from uda_hydra.files import is_number
from uda_hydra.studies.keys import Overrides, composed_value, split_line
from uda_hydra.studies.records import Point, Value, value_key

CHANCES = 200
"""Attempts of chance to draw a new point."""


@dataclass(frozen=True)
class Space:
    """The swept keys, in order."""

    written: dict[str, str]
    """Each swept key with its values, as in the sweep's file or on the command line."""
    distributions: dict[str, BaseDistribution]
    reference: Point | None
    """The composed values; None where they are no point of the study."""

    @property
    def listed(self) -> bool:
        """Whether every value is listed, so that all points can be tried."""
        return all(isinstance(d, CategoricalDistribution) for d in self.distributions.values())

    @property
    def size(self) -> int:
        """The number of points of a listed space."""
        return math.prod(len(d.choices) for d in self.distributions.values())

    def points(self) -> list[Point]:
        """All points of a listed space; the reference comes first."""
        choices = [d.choices for d in self.distributions.values()]
        found = [dict(zip(self.written, c, strict=True)) for c in itertools.product(*choices)]
        if self.reference is None:
            return found
        reference = point_key(self.reference)
        return [self.reference, *(p for p in found if point_key(p) != reference)]


def point_key(point: Mapping[str, Value]) -> tuple[tuple[str, Any], ...]:
    """A point to compare and to look up: 1 and 1.0 are one value, 1 and true are two."""
    return tuple(sorted((name, value_key(value)) for name, value in point.items()))


def draw_by_chance(space: Space, known: Container[Any], *, seed: int) -> FrozenTrial | None:
    """A point whose key is not ``known``, as a trial that runs; None where none is found.

    Of a listed space every point that is left is found in the end.
    """
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for _ in range(CHANCES):
        if point_key(study.ask(space.distributions).params) not in known:
            return study.trials[-1]
    left = (p for p in (space.points() if space.listed else ()) if point_key(p) not in known)
    state, named = TrialState.RUNNING, space.distributions
    found = (create_trial(state=state, params=point, distributions=named) for point in left)
    return next(found, None)


def parse_space(
    overrides: Overrides, config: DictConfig, *, reference: bool | str = "auto"
) -> tuple[Space, list[int] | None]:
    """The space of the swept overrides, and the seeds if they are swept.

    ``config`` is the composed config with its ``hydra`` node; ``reference`` is that of the sweeper.
    """
    swept = dict(overrides.swept)
    seeds = swept.pop("seed", None)
    values = {name: split_line(override.input_line)[1] for name, override in swept.items()}
    references = {name: composed_value(name, config) for name in swept}
    wanted = reference is True or (
        reference == "auto" and all(_means_something(o, references[n]) for n, o in swept.items())
    )
    distributions, known = {}, wanted
    for name, override in swept.items():
        if override.is_interval_sweep():
            ends = override.value().start, override.value().end
            _check_swept(name, [*ends])
            if not ends[0] < ends[1]:
                raise UserError(f"{override.input_line}: the first end must be the smaller one")
            if "log" in override.value().tags and ends[0] <= 0:
                raise UserError(f"{override.input_line}: the first end must be positive, for a log")
            known &= wanted and _widen(override, references[name])
            distributions[name] = create_optuna_distribution_from_override(override)
        else:
            listed = _listed(override, *([references[name]] if wanted else []))
            _check_swept(name, listed)
            distributions[name] = CategoricalDistribution(listed)
            if wanted:
                key = value_key(references[name])
                references[name] = next(one for one in listed if value_key(one) == key)
    if reference is True and not known:
        raise UserError(
            f"hydra.sweeper.reference=true: the composed values {references} are not all inside "
            "the intervals' kind of value; use hydra.sweeper.reference=auto"
        )
    space = Space(values, distributions, references if known else None)
    return space, None if seeds is None else _whole_numbers(seeds)


def _means_something(override: Override, value: Value) -> bool:
    """Whether the composed value of a key belongs among its swept values unasked.

    A number belongs among numbers; of categories only one that is swept anyway.
    """
    if override.is_interval_sweep():
        return True
    listed = _listed(override)
    among = value_key(value) in map(value_key, listed)
    return among or all(map(is_number, [value, *listed]))


def _check_swept(name: str, values: list[Value]) -> None:
    """Raise UserError for a value that the key, of all stages or of one, cannot hold."""
    check_values({re.sub(r"^\+*stage\.[^.]+\.", "", name): values})


def _whole_numbers(seeds: Override) -> list[int]:
    found = _listed(seeds)
    if not all(is_number(seed) and isinstance(seed, int) for seed in found):
        raise UserError(f"{seeds.input_line}: seeds are whole numbers")
    check_values({"seed": found})
    return found


def _listed(override: Override, *more: Value) -> list[Value]:
    """The values of a choice or range in order, followed by ``more``, each once."""
    if not (override.is_choice_sweep() or override.is_range_sweep()):
        raise UserError(
            f"{override.input_line}: write choice(...), range(...), interval(...) or a list"
        )
    found: dict[Any, Value] = {}
    for value in (*override.sweep_iterator(transformer=Transformer.encode), *more):
        value = None if value == "null" else value
        found.setdefault(value_key(value), value)
    return [*found.values()]


def _widen(override: Override, value: Value) -> bool:
    """Extend an interval to ``value``; False if the interval cannot hold such a value."""
    interval = override.value()
    whole = isinstance(interval.start, int) and isinstance(interval.end, int)
    fits = is_number(value) and (isinstance(value, int) or not whole)
    if not fits or not math.isfinite(value) or ("log" in interval.tags and value <= 0):
        return False
    interval.start, interval.end = min(interval.start, value), max(interval.end, value)
    return True
