"""What decides the numbers of a training, and what does not."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from uda_hydra.files import flat

# What may change without changing a single number of the result.
NEUTRAL = (
    "output",
    "objective",
    "ensemble",
    "input",
    "layout",
    "published",
    "table",
    "task",
    "tracking",
    "callbacks",
    "stages",
    "stage",
    "start",
    "trial",
)
NEUTRAL_INSIDE = {
    "trainer": ("device", "workers", "log_every", "save_every"),
    "dataset": ("cache", "cache_folder"),
}


def identity(config: DictConfig) -> dict[str, Any]:
    """The resolved values that decide a training's numbers, flat."""
    values = OmegaConf.to_container(config, resolve=True)
    values = {key: value for key, value in values.items() if key not in NEUTRAL}
    for group, neutral in NEUTRAL_INSIDE.items():
        values[group] = {k: v for k, v in values[group].items() if k not in neutral}
    return flat(values)
