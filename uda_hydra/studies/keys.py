"""Which keys are swept and which are fixed; a key that the config lacks is refused at once.

Does not import optuna, which starts slowly.
"""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from uda_hydra.errors import UserError, nearest
from uda_hydra.studies.records import Value

LOGSPACE = re.compile(r"logspace\(([^,()]+),([^,()]+),\s*(\d+)\s*\)")


class Overrides(NamedTuple):
    """The overrides of a sweep by key."""

    fixed: dict[str, Override]
    swept: dict[str, Override]


def split_line(line: str) -> tuple[str, str]:
    """Key and value of ``key=value``; the value may hold further ``=``."""
    key, _, value = line.partition("=")
    return key, value


def divide(
    params: Mapping[str, Any] | None, arguments: Sequence[str], config: DictConfig
) -> Overrides:
    """The fixed and the swept overrides; of several for one key the last wins.

    ``params`` come from a sweep's file and ``arguments`` from the command line, so a fixed value
    there takes a key out of the space. Raises UserError for a swept key that ``config`` lacks, and
    where it lacks all keys of ``params``.
    """
    fixed: dict[str, Override] = {}
    swept: dict[str, Override] = {}
    lines = _resolve(params or {}, arguments, config)
    for override in OverridesParser.create().parse_overrides([*lines, *arguments]):
        name = override.get_key_element()
        into, other = (swept, fixed) if override.is_sweep_override() else (fixed, swept)
        other.pop(name, None)
        into[name] = override
    if "sweep" in {name.lstrip("+") for name in swept}:
        raise UserError(
            "one question at a time: sweep=<name> takes one file of sweeps/; "
            "start several commands for several files"
        )
    for name in swept:
        composed_value(name, config)
    return Overrides(fixed, swept)


def _resolve(params: Mapping[str, Any], arguments: Sequence[str], config: DictConfig) -> list[str]:
    """``key=value`` lines with alternatives decided and our own ``logspace`` expanded."""
    given = {split_line(argument)[0] for argument in arguments}
    lines: dict[str, str] = {}
    asked: list[str] = []
    for names, value in params.items():
        written = [name.strip() for name in str(names).split("|")]
        asked += [name for name in written if name != "none"]
        several = [match for name in written for match in _matches(name, config)]
        there = [name for name in several if name not in lines and _has(name, config)]
        if not there and "none" in written:
            continue
        if not there:
            raise UserError(_missing(written, config))
        # A fixed value for one of the alternatives decides between them.
        name = next((n for n in several if n in given), there[0])
        text = f"choice({','.join(map(str, value))})" if isinstance(value, list) else str(value)
        lines[name] = LOGSPACE.sub(_expand_logspace, text)
    if params and not lines:
        raise UserError(_missing(asked, config))
    return [f"{name}={text}" for name, text in lines.items()]


def _matches(name: str, config: DictConfig) -> list[str]:
    """The keys of the config that a pattern such as ``loss.lambda_*`` matches; others as given."""
    if not {*name} & {*"*?["}:
        return [name]
    group, _, pattern = name.rpartition(".")
    node = OmegaConf.select(config, group) if group else config
    keys = [str(key) for key in node] if OmegaConf.is_dict(node) else []
    return [f"{group}.{key}".lstrip(".") for key in fnmatch.filter(keys, pattern)]


def _expand_logspace(match: re.Match[str]) -> str:
    """``choice(...)`` of values at equal ratios, rounded to three digits."""
    count = int(match[3])
    try:
        low, high = float(match[1]), float(match[2])
    except ValueError:
        low = high = math.nan  # refused like all that are no numbers
    if not 0 < low < high < math.inf or count < 2:
        raise UserError(f"{match[0]} must be logspace(low, high, n) with 0 < low < high and n > 1")
    steps = (i / (count - 1) for i in range(count))
    values = (math.exp(math.log(low) + s * math.log(high / low)) for s in steps)
    return f"choice({','.join(f'{value:.3g}' for value in values)})"


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """The last part of each key, or the whole key where another one ends as it does."""
    last = {key: key.rpartition(".")[2] for key in keys}
    return {k: name if [*last.values()].count(name) == 1 else k for k, name in last.items()}


def composed_value(name: str, config: DictConfig) -> Value:
    """The value that a key has without the sweep; UserError if there is no such key."""
    choices = config.hydra.runtime.choices
    if name in choices:
        return choices[name]
    path = name.lstrip("+")
    if path.startswith("stage."):
        _, stage, *keys = path.split(".", 2)
        if not keys:
            raise UserError(f"{name} names no key of the stage, as +stage.{stage}.seed=1,2 does")
        path = keys[0]
    elif name.startswith(("+", "~")):
        raise UserError(f"{name}: only keys that the config has can be swept")
    if not _has(path, config):
        raise UserError(_missing([path], config))
    value = OmegaConf.select(config, path)
    # The values of a swept list are strings in Hydra's notation.
    return str(value).replace(" ", "") if OmegaConf.is_config(value) else value


def _has(name: str, config: DictConfig) -> bool:
    if name in config.hydra.runtime.choices or name == "seed":
        return True
    group, _, last = name.lstrip("+").rpartition(".")
    node = OmegaConf.select(config, group) if group else config
    return OmegaConf.is_dict(node) and last in node


def _missing(names: Sequence[str], config: DictConfig) -> str:
    """A message that no such key can be swept, and which keys can."""
    choices = config.hydra.runtime.choices
    group = names[0].rpartition(".")[0]
    node = OmegaConf.select(config, group) if group else None
    there = [f"{group}.{k}" for k in node if k != "_target_"] if OmegaConf.is_dict(node) else []
    keys = " or ".join(names)
    has = f"; it has {', '.join(there)}" if there else nearest(names[0], map(str, config))
    return f"method={choices['method']} has no {keys} to sweep{has}"
