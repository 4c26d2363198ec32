"""A paper's stages are command lines: which config each stage gets, and what makes two equal."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from uda_hydra.errors import UserError, nearest

ADDRESS = "stage."
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
)
NEUTRAL_INSIDE = {
    "trainer": ("device", "workers", "log_every", "save_every"),
    "dataset": ("cache", "cache_folder"),
}


class Stage(NamedTuple):
    """One training of a run; its folder is ``config.output``."""

    name: str
    config: DictConfig

    @property
    def folder(self) -> Path:
        """Where the stage's files are."""
        return Path(self.config.output)


def plan(config: DictConfig, overrides: list[str], label: str) -> list[Stage]:
    """The stages of the composed top-level config and the user's overrides, in order.

    An override reaches every stage that has its key; ``+stage.<name>.<key>=<value>`` reaches
    one alone. What a stage's own list sets (its method, where it begins) stays, what a file sets
    below ``stage.<name>`` gives way to an override. ``label`` names the run where no output folder
    is given.
    """
    user = OverridesParser.create().parse_overrides(overrides)
    addressed = [o for o in user if o.key_or_group.startswith(ADDRESS)]
    for override in addressed:
        name = override.key_or_group.split(".")[1]
        if name not in config.stages:
            where = nearest(name, config.stages) if config.stages else "; this run has no stages"
            raise UserError(f"there is no stage {name!r} for {override.input_line}{where}")

    recipe = [identity(config), [override.input_line for override in addressed]]
    output = config.output or f"outputs/runs/{label}-{_digest(recipe)}"
    with_output = OmegaConf.merge(config, {"output": output})
    if not config.stages:
        return [Stage(label, with_output)]
    values = OmegaConf.to_container(with_output, resolve=True)
    general = [o for o in user if o not in addressed]
    return [
        Stage(
            name,
            _compose(
                general,
                own,
                _lines(values["stage"].get(name, {})),
                [_unaddressed(o, name) for o in addressed if o.key_or_group.split(".")[1] == name],
                output=f"{output}/{name}",
                last=name == [*values["stages"]][-1],
            ),
        )
        for name, own in values["stages"].items()
    ]


def _compose(
    general: list[Override],
    own: list[str],
    usual: list[str],
    addressed: list[str],
    *,
    output: str,
    last: bool,
) -> DictConfig:
    """The config of one stage. Each speaks louder than those before it.

    The stage's usual values, the user's general overrides, the list's own, the addressed ones.
    """
    own = [_quoted(line) for line in own]
    taken = {o.key_or_group for o in OverridesParser.create().parse_overrides(own)}
    taken |= {"output", "stages"}
    # The choice of a loss file belongs to the method that the user named, the last stage's.
    taken |= set() if last else {"loss"}
    general = [o for o in general if o.key_or_group not in taken]
    ends = [*own, *addressed, _quoted(f"output={output}")]
    groups = [o for o in general if not _is_value(o)]
    bare = compose("config", [*(o.input_line for o in groups), *ends])
    kept = [o for o in general if not _is_value(o) or (last and o.is_add()) or _has(bare, o)]
    config = compose("config", [*usual, *(o.input_line for o in kept), *ends])
    # One training; where an experiment lists the stages it is composed with the list.
    config.stages, config.stage = {}, {}
    return config


def _lines(values: dict[str, Any]) -> list[str]:
    """The overrides that set nested values."""
    return [f"{key}={json.dumps(value)}" for key, value in flat(values).items()]


def _is_value(override: Override) -> bool:
    """Whether it sets a value; a choice of a group has a one-word key that is a group's name."""
    from hydra.core.global_hydra import GlobalHydra

    loader = GlobalHydra.instance().config_loader()
    return override.key_or_group not in loader.list_groups("")


def _has(config: DictConfig, override: Override) -> bool:
    node: Any = config
    for part in override.key_or_group.split("."):
        if not OmegaConf.is_dict(node) or part not in node:
            return False
        node = node._get_node(part)
    return True


def _unaddressed(override: Override, name: str) -> str:
    return override.input_line.replace(f"{ADDRESS}{name}.", "", 1).lstrip("+")


def _quoted(line: str) -> str:
    """``key=value`` with the value quoted where a path could confuse Hydra's grammar."""
    key, _, value = line.partition("=")
    if value.startswith(("{", "[", "'", '"')) or value.replace("/", "").isalnum():
        return line
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{key}='{escaped}'"


def identity(config: DictConfig) -> dict[str, Any]:
    """The resolved values that decide a training's numbers, flat."""
    values = OmegaConf.to_container(config, resolve=True)
    values = {key: value for key, value in values.items() if key not in NEUTRAL}
    for group, neutral in NEUTRAL_INSIDE.items():
        values[group] = {k: v for k, v in values[group].items() if k not in neutral}
    return flat(values)


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, with dotted keys."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        result |= flat(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return result


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


def settings(node: DictConfig) -> Any:
    """The dataclass of a typed group, with its ranges checked."""
    try:
        return OmegaConf.to_object(node)
    except ValueError as error:
        raise UserError(str(error)) from error
