"""Config values and names, written the way MLflow takes them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

PLACES = re.compile(r"output|start\.folder|trial\..*")
"""Keys that say where a run's files are, not what it computes; its tag ``folder`` says it too."""


def parameters(config: Mapping[str, Any]) -> dict[str, str]:
    """What the UI compares of two runs: all values but their places."""
    return {key: value for key, value in flatten(config).items() if not PLACES.fullmatch(key)}


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
    """A name as MLflow allows it."""
    return re.sub(r"[^\w/ :.-]", "_", name)[:250]
