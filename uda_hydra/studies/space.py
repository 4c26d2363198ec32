"""What is swept: the search space as it was written, its points and its reference."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import Override, Transformer
from hydra_plugins.hydra_optuna_sweeper._impl import create_optuna_distribution_from_override
from omegaconf import DictConfig
from optuna.distributions import BaseDistribution, CategoricalDistribution

from uda_hydra.errors import UserError
from uda_hydra.studies.keys import composed_value, divided
from uda_hydra.studies.records import Value

Point = dict[str, Value]


@dataclass(frozen=True)
class Space:
    """The swept keys, in order."""

    written: dict[str, str]
    """As in the sweep's file or on the command line."""
    distributions: dict[str, BaseDistribution]
    reference: Point | None
    """The composed values; None if one of them cannot be a value of its distribution."""

    @property
    def listed(self) -> bool:
        """Whether every value is listed, so that all points can be tried."""
        return all(isinstance(d, CategoricalDistribution) for d in self.distributions.values())

    def points(self) -> list[Point]:
        """All points of a listed space; the reference comes first."""
        choices = [d.choices for d in self.distributions.values()]
        found = [dict(zip(self.written, c, strict=True)) for c in itertools.product(*choices)]
        if self.reference is None:
            return found
        return [self.reference, *(p for p in found if not same(p, self.reference))]


def same(a: Mapping[str, Value], b: Mapping[str, Value]) -> bool:
    """Whether two points are one; 1 and 1.0 are, 1 and true are not."""
    return key(a) == key(b)


def key(point: Mapping[str, Value]) -> tuple[tuple[str, Any], ...]:
    """A point as something to compare and to look up."""
    return tuple(sorted((name, _known(value)) for name, value in point.items()))


def _known(value: Value) -> tuple[str, Any]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return type(value).__name__, str(value)
    return "number", float(value)


def parse(
    params: Mapping[str, Any] | None, arguments: Sequence[str], config: DictConfig
) -> tuple[Space, list[str], list[int] | None]:
    """The space, the overrides that are fixed, and the seeds if they are swept.

    ``params`` come from a sweep's file; ``arguments`` speak later, so a value there takes a key
    out of the space. ``config`` is the composed config with its ``hydra`` node.
    """
    fixed, swept = divided(params, arguments, config)
    seeds = swept.pop("seed", None)
    values = {name: override.input_line.partition("=")[2] for name, override in swept.items()}
    references = {name: composed_value(name, config) for name in swept}
    distributions, known = {}, True
    for name, override in swept.items():
        if override.is_interval_sweep():
            known &= _widen(override, references[name])
            distributions[name] = create_optuna_distribution_from_override(override)
        else:
            distributions[name] = CategoricalDistribution(_listed(override, references[name]))
    space = Space(values, distributions, references if known else None)
    lines = [override.input_line for override in fixed.values()]
    return space, lines, None if seeds is None else _whole(seeds)


def _whole(seeds: Override) -> list[int]:
    found = _listed(seeds)
    if any(not isinstance(seed, int) or isinstance(seed, bool) for seed in found):
        raise UserError(f"{seeds.input_line}: seeds are whole numbers")
    return found


def _listed(override: Override, *more: Value) -> list[Value]:
    """The values of a choice or range in order, and ``more`` of them, each once."""
    if not (override.is_choice_sweep() or override.is_range_sweep()):
        raise UserError(
            f"{override.input_line}: write choice(...), range(...), interval(...) or a list"
        )
    found: dict[Any, Value] = {}
    for value in (*override.sweep_iterator(transformer=Transformer.encode), *more):
        value = None if value == "null" else value
        found.setdefault(_known(value), value)
    return [*found.values()]


def _widen(override: Override, value: Value) -> bool:
    """Make room for ``value`` in an interval; False if it can have no place there."""
    interval = override.value()
    whole = isinstance(interval.start, int) and isinstance(interval.end, int)
    number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or ("log" in interval.tags and value <= 0):
        return False
    interval.start, interval.end = min(interval.start, value), max(interval.end, value)
    return True
