"""A paper's stages are command lines: which config each stage gets, and what makes two equal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from uda_hydra.config import quoted
from uda_hydra.errors import UserError, nearest
from uda_hydra.files import digest_of, flat
from uda_hydra.runs.identity import identity

ADDRESS = "stage."


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
    is given. With ``start.folder`` the stages before the last are there, each in a folder named by
    what it is made of, so that equal ones are trained once.
    """
    user = OverridesParser.create().parse_overrides(overrides)
    addressed = [o for o in user if o.key_or_group.startswith(ADDRESS)]
    recipe = [identity(config), [override.input_line for override in addressed]]
    recipe += [_beginning(config)] if _beginning(config) else []
    output = config.output or f"outputs/runs/{label}-{digest_of(recipe)}"
    with_output = OmegaConf.merge(config, {"output": output})
    lists = _lists(with_output)
    usual = OmegaConf.to_container(with_output, resolve=True)["stage"]
    _check_addresses(addressed, lists)
    if not lists:
        return [Stage(label, with_output)]
    general = [o for o in user if o not in addressed]
    stages: list[Stage] = []
    for name, own in lists.items():
        last = name == [*lists][-1]
        for before in stages:
            own = [line.replace(f"{output}/{before.name}/", f"{before.folder}/") for line in own]
        if not last and config.start.seed is not None:
            own = [*own, f"seed={config.start.seed}"]
        mine = [o for o in addressed if o.key_or_group.split(".")[1] == name]
        lines = [_unaddressed(o, name) for o in mine]
        folder = f"{output}/{name}"
        often = _lines(usual.get(name, {}))
        composed = _compose(general, own, often, lines, output=folder, last=last)
        stages.append(Stage(name, composed if last else _shared(name, composed)))
    return stages


def _lists(config: DictConfig) -> dict[str, list[str]]:
    """The overrides of each stage; a method of one training may be given a stage before it."""
    lists = OmegaConf.to_container(config, resolve=True)["stages"]
    if lists or not config.start.overrides:
        return lists
    method = config.method.get("name", config.method._target_.split(".")[-2])
    return {"start": [*config.start.overrides], method: [f"init={config.output}/start/last.pt"]}


def _beginning(config: DictConfig) -> list[Any]:
    """What ``start`` says of the weights that a run begins with."""
    said = [[*(config.start.overrides or [])], config.start.seed]
    return said if any(value not in ([], None) for value in said) else []


def _shared(name: str, config: DictConfig) -> DictConfig:
    """The config of a stage before the last, in ``start.folder`` if there is one."""
    folder = config.start.folder
    if folder is None:
        return config
    # Where the study is does not make the stage another one.
    recipe = json.dumps(identity(config), sort_keys=True).replace(folder, "")
    return OmegaConf.merge(config, {"output": f"{folder}/{name}-{digest_of(recipe)}"})


def _check_addresses(addressed: list[Override], lists: dict[str, list[str]]) -> None:
    for override in addressed:
        name = override.key_or_group.split(".")[1]
        if name not in lists:
            where = nearest(name, lists) if lists else "; this run has no stages"
            raise UserError(f"there is no stage {name!r} for {override.input_line}{where}")


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
    own = [quoted(line) for line in own]
    taken = {o.key_or_group for o in OverridesParser.create().parse_overrides(own)}
    taken |= {"output", "stages"}
    # The choice of a loss file belongs to the method that the user named, the last stage's.
    taken |= set() if last else {"loss"}
    general = [o for o in general if o.key_or_group not in taken]
    ends = [*own, *addressed, quoted(f"output={output}")]
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
