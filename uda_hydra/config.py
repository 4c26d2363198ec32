"""Config nodes as plain values and dataclasses, and values as overrides."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from uda_hydra.errors import UserError, nearest
from uda_hydra.files import flat
from uda_hydra.settings import (
    NOT_NEGATIVE,
    POSITIVE,
    SCALE,
    EvaluationSettings,
    OptimizerSettings,
    Range,
    TrainerSettings,
    numbers_in,
    ranges,
)

RANGES = {
    **ranges("optimizer", OptimizerSettings),
    **ranges("trainer", TrainerSettings),
    **ranges("evaluation", EvaluationSettings),
    "augmentation.scale_range": SCALE["range"],
}
LARGEST = 2**63 - 1
"""The largest whole number that PyTorch, NumPy and databases take."""
LARGEST_REAL = 3.4e38
"""The largest number of 32-bit arithmetic."""
MOST_PIXELS = 2**26
"""Of a picture that a network sees: 8192 x 8192."""
PICTURES = ("size", "crop", "scale_base")
"""Names of keys that hold width and height."""


def plain(node: Any) -> Any:
    """Dictionaries and lists in place of config nodes, interpolations resolved."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def check_values(values: DictConfig | Mapping[str, Any]) -> None:
    """Raise UserError for the first value that its key cannot hold; ``values`` may be nested.

    Of a config the keys of the groups with a type are checked too, which a "+" may have added.

    Whatever the key: numbers are finite, whole ones of at most 64 bits, seeds and weights of losses
    not negative, widths of layers positive, pictures have at most ``MOST_PIXELS``, and no path
    begins with ~/, which only a shell expands. Ranges that only a constructor knows are left to it.
    """
    if isinstance(values, DictConfig):
        _check_keys(values, "")
        for name, node in values.items_ex(resolve=False):
            _check_keys(node, f"{name}.")
        # An interpolation is checked where its number was written.
        values = OmegaConf.to_container(values, resolve=False)
    for key, value in flat(values).items():
        for number in numbers_in(value):
            for allowed in _ranges_of(key):
                if not allowed.holds(number):
                    raise UserError(f"{key} must be {allowed.wanted}, got {value}")
        if isinstance(value, str) and value.startswith("~/"):
            raise UserError(f"{key}={value} is not expanded: write {Path(value).expanduser()}")
        sides = [*numbers_in(value)] if key.rpartition(".")[2] in PICTURES else []
        if len(sides) == 2 and math.prod(map(abs, sides)) > MOST_PIXELS:
            raise UserError(f"{key} must be at most {MOST_PIXELS:,} pixels in all, got {value}")


def _check_keys(node: Any, prefix: str) -> None:
    """Raise UserError for a key that the node's dataclass, if it is of one, has not."""
    kind = OmegaConf.get_type(node)
    if not is_dataclass(kind):
        return
    known = [one.name for one in fields(kind)]
    for key in node:
        if key not in known:
            raise UserError(f"there is no key {prefix}{key}{nearest(key, known, prefix=prefix)}")


def _ranges_of(key: str) -> Iterator[Range]:
    """What a number of ``key`` must be, the most general first."""
    yield Range(
        "a finite number, whole ones of at most 64 bits",
        lambda number: abs(number) <= (LARGEST if isinstance(number, int) else LARGEST_REAL),
    )
    group, _, name = key.rpartition(".")
    if name in ("seed", "seeds") or group == "loss":
        yield NOT_NEGATIVE["range"]
    if name.endswith(("channels", "width", "_dim")):
        yield POSITIVE["range"]
    if key in RANGES:
        yield RANGES[key]


def settings(node: DictConfig) -> Any:
    """The dataclass of a typed group, with its ranges checked."""
    try:
        return OmegaConf.to_object(node)
    except ValueError as error:
        raise UserError(str(error)) from error
