"""What is swept: the search space as it was written, its points and its reference."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Transformer
from hydra_plugins.hydra_optuna_sweeper._impl import create_optuna_distribution_from_override
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import BaseDistribution, CategoricalDistribution

from uda_hydra.errors import UserError, nearest
from uda_hydra.studies.records import Value

Point = dict[str, Value]
LOGSPACE = re.compile(r"logspace\(([^,()]+),([^,()]+),\s*(\d+)\s*\)")


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
    fixed: dict[str, Override] = {}
    swept: dict[str, Override] = {}
    written = _resolved(params or {}, arguments, config)
    for override in OverridesParser.create().parse_overrides([*written, *arguments]):
        name = override.get_key_element()
        into, other = (swept, fixed) if override.is_sweep_override() else (fixed, swept)
        other.pop(name, None)
        into[name] = override
    if "sweep" in {name.lstrip("+") for name in swept}:
        raise UserError(
            "one question at a time: sweep=<name> takes one file of sweeps/, "
            "several are several commands"
        )
    seeds = swept.pop("seed", None)
    values = {name: _value(override) for name, override in swept.items()}
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
    return space, lines, None if seeds is None else [int(s) for s in _listed(seeds)]


def _value(override: Override) -> str:
    return override.input_line.partition("=")[2]


def _resolved(params: Mapping[str, Any], arguments: Sequence[str], config: DictConfig) -> list[str]:
    """``key=value`` lines with alternatives decided and our own ``logspace`` written out."""
    given = {argument.partition("=")[0] for argument in arguments}
    lines = []
    for names, value in params.items():
        several = [name.strip() for name in str(names).split("|")]
        there = [name for name in several if _has(name, config)]
        # A fixed value for one of the alternatives answers for all of them.
        name = next((n for n in several if n in given), there[0] if there else several[0])
        text = f"choice({','.join(map(str, value))})" if OmegaConf.is_list(value) else str(value)
        if not there and "none" in several:
            continue
        if not there:
            raise UserError(_missing(several, config))
        lines.append(f"{name}={LOGSPACE.sub(_spaced, text)}")
    return lines


def _spaced(match: re.Match[str]) -> str:
    """``choice(...)`` of values at equal ratios, rounded to three digits."""
    low, high, count = float(match[1]), float(match[2]), int(match[3])
    if low <= 0 or high <= low or count < 2:
        raise UserError(f"{match[0]}: wanted is logspace(low, high, n), 0 < low < high, n > 1")
    steps = (i / (count - 1) for i in range(count))
    values = (math.exp(math.log(low) + s * math.log(high / low)) for s in steps)
    return f"choice({','.join(f'{value:.3g}' for value in values)})"


def composed_value(name: str, config: DictConfig) -> Value:
    """The value that a key has without the sweep; UserError if there is no such key."""
    choices = config.hydra.runtime.choices
    if name in choices:
        return choices[name]
    path = name.lstrip("+")
    if path.startswith("stage."):
        path = path.split(".", 2)[2]
    elif name.startswith(("+", "~")):
        raise UserError(f"{name}: only keys that the config has can be swept")
    if not _has(path, config):
        raise UserError(_missing([path], config))
    value = OmegaConf.select(config, path)
    # Lists are swept as Hydra writes them.
    return str(value).replace(" ", "") if OmegaConf.is_config(value) else value


def _has(name: str, config: DictConfig) -> bool:
    if name in config.hydra.runtime.choices or name == "seed":
        return True
    group, _, last = name.lstrip("+").rpartition(".")
    node = OmegaConf.select(config, group) if group else config
    return OmegaConf.is_dict(node) and last in node


def _missing(names: Sequence[str], config: DictConfig) -> str:
    """That a key to sweep is not there, and what is there instead."""
    choices = config.hydra.runtime.choices
    group = names[0].rpartition(".")[0]
    node = OmegaConf.select(config, group) if group else None
    there = [f"{group}.{k}" for k in node if k != "_target_"] if OmegaConf.is_dict(node) else []
    keys = " or ".join(names)
    has = f"; it has {', '.join(there)}" if there else nearest(names[0], map(str, config))
    return f"method={choices['method']} has no {keys} to sweep{has}"


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
