"""Which keys are swept and which are fixed; a key that is not there is refused at once.

Without optuna, which starts slowly.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from uda_hydra.errors import UserError, nearest
from uda_hydra.studies.records import Value

LOGSPACE = re.compile(r"logspace\(([^,()]+),([^,()]+),\s*(\d+)\s*\)")


def divided(
    params: Mapping[str, Any] | None, arguments: Sequence[str], config: DictConfig
) -> tuple[dict[str, Override], dict[str, Override]]:
    """The fixed and the swept overrides by key; who speaks later is heard.

    Raises UserError for a swept key that the config does not have.
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
    for name in swept:
        composed_value(name, config)
    return fixed, swept


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
