"""Config values and names in MLflow's form."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from uda_hydra.files import mask

PLACES = re.compile(r"output|start\.folder|trial\..*")
"""Keys for where a run's files are; they do not change what it computes."""


def parameters(config: Mapping[str, Any]) -> dict[str, str]:
    """The parameters of a run: all values of its config except ``PLACES``, without passwords."""
    return {k: mask(value) for k, value in flatten(config).items() if not PLACES.fullmatch(k)}


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested values as dotted names; lists stay whole, and everything is written as in YAML."""
    flat = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{name}.")
        else:
            flat[legal(name)] = value if isinstance(value, str) else json.dumps(value, default=str)
    return flat


def legal(name: str) -> str:
    """``name`` with the characters and the length that MLflow allows."""
    return re.sub(r"[^\w/ :.-]", "_", name)[:250]
