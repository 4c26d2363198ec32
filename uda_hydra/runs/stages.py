"""A paper's stages are command lines: which config each stage gets.

A stage names the files of an earlier one as ``${stage:<name>}/last.pt``: in conf/method, in
conf/experiment and on the command line, wherever the earlier stage's folder may be.
"""

from __future__ import annotations

import json
from copy import deepcopy
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from hydra import compose
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from uda_hydra.errors import UserError, nearest
from uda_hydra.files import digest_of, flat
from uda_hydra.runs.identity import identity

ADDRESS = "stage."
_OF_THE_LAST = {"loss", "extra"}


class Stage(NamedTuple):
    """One training of a run; its folder is ``config.output``."""

    name: str
    config: DictConfig

    @property
    def folder(self) -> Path:
        """Where the stage's files are."""
        return Path(self.config.output)


def folder_of(name: str, *, _root_: DictConfig) -> str:
    """What ``${stage:<name>}`` stands for: the folder of an earlier stage."""
    if _root_.folders is None:
        # The stages are not planned yet.
        return f"<{name}>"
    if name not in _root_.folders:
        raise UserError(
            f"there is no stage {name!r} before this one{nearest(name, _root_.folders)}"
        )
    return _root_.folders[name]


def plan(config: DictConfig, overrides: list[str]) -> list[Stage]:
    """The stages of the composed top-level config and the user's overrides, in order.

    A training without stages is a list of one, named as its method. An override reaches every stage
    that has its key and does not set it itself, and must reach one;
    ``+stage.<name>.<key>=<value>`` reaches one alone. Each stage has a folder below ``output``.
    With ``start.folder`` the stages before the last are there, each in a folder named by what it is
    made of, so that equal ones are trained once.
    """
    user = OverridesParser.create().parse_overrides(overrides)
    addressed = [o for o in user if o.key_or_group.startswith(ADDRESS)]
    general = [o for o in user if o not in addressed]
    lists = _lists(config)
    _check_addresses(addressed, lists)
    usual = OmegaConf.to_container(config.stage, resolve=False) if config.stage else {}
    output = config.output or _usual_output(config, lists, usual, addressed)
    stages: list[Stage] = []
    for name, own in lists.items():
        last = len(stages) == len(lists) - 1
        if not last and config.start.seed is not None:
            own = [*own, f"seed={config.start.seed}"]
        mine = [_unaddressed(o, name) for o in addressed if o.key_or_group.split(".")[1] == name]
        stage = _compose(general, own, _lines(usual.get(name, {})), mine, last=last)
        stage.folders = {earlier.name: str(earlier.folder) for earlier in stages}
        shared = None if last else stage.start.folder
        stage.output = f"{output}/{name}" if shared is None else _shared_folder(name, stage)
        stages.append(Stage(name, stage))
    _check_reach(general, lists, stages)
    if config.table is not None:
        _check_rows(general, stages)
    return stages


def _lists(config: DictConfig) -> dict[str, list[str]]:
    """The overrides of each stage; a method of one training may be given a stage before it."""
    lists = OmegaConf.to_container(config.stages, resolve=False)
    if lists:
        return lists
    if config.start.overrides:
        start = [*config.start.overrides]
        return {"start": start, config.method.name: ["init=${stage:start}/last.pt"]}
    return {config.method.name: []}


def _usual_output(
    config: DictConfig,
    lists: dict[str, list[str]],
    usual: dict[str, Any],
    addressed: list[Override],
) -> str:
    """The run's folder where none is given: what it is in words, and a digest of all of it."""
    recipe = [identity(config), lists, usual, [override.input_line for override in addressed]]
    recipe.append(config.start.seed)
    words = f"{config.method.name}-{config.dataset.name}-seed{config.seed}".replace("/", "-")
    return f"outputs/runs/{words}-{digest_of(recipe)}"


def _shared_folder(name: str, config: DictConfig) -> str:
    """The folder in ``start.folder`` of a stage that many runs begin with."""
    made_of = identity(config)
    read = [Path(f).name for n, f in config.folders.items() if f"${{stage:{n}}}" in str(made_of)]
    return f"{config.start.folder}/{name}-{digest_of([made_of, read])}"


def _check_addresses(addressed: list[Override], lists: dict[str, list[str]]) -> None:
    for override in addressed:
        name, *key = override.key_or_group.split(".")[1:]
        if not key:
            raise UserError(
                f"{override.input_line} names no key of the stage, as +stage.{name}.seed=1 does"
            )
        if name not in lists:
            raise UserError(
                f"there is no stage {name!r} for {override.input_line}{nearest(name, lists)}"
            )


def _check_reach(general: list[Override], lists: dict[str, list[str]], stages: list[Stage]) -> None:
    """Every override must reach a stage: a list that sets the key itself passes it over."""
    for override in general:
        key = override.key_or_group
        if key.split(".")[0] in ("output", "stages", "hydra") or override.is_delete():
            continue
        last = stages[-1].name
        passed = [name for name, own in lists.items() if key in _taken(own, last=name == last)]
        rest = [stage.config for stage in stages if stage.name not in passed]
        if any(_chooses(override) or _has(config, override) for config in rest):
            continue
        if key == "method" and _brings(override, general, lists):
            continue
        why = f"{', '.join(passed)} set their own" if passed else "none has the key"
        raise UserError(
            f"{override.input_line} reaches no stage: {why}. +stage.{last}.{key}=... reaches one"
        )


def _check_rows(general: list[Override], stages: list[Stage]) -> None:
    """The rows of a table are no steps to one result, so none of them is the last."""
    for override in general:
        key, last = override.key_or_group, stages[-1].name
        if key in _OF_THE_LAST and stages[1:]:
            raise UserError(
                f"{override.input_line} would reach {last} alone, the last row of the table; name "
                f"a row: +stage.{last}.{override.input_line}"
            )


def _brings(method: Override, general: list[Override], lists: dict[str, list[str]]) -> bool:
    """Whether the stages of the run are those of a method, but for what the user changed."""
    keys = [override.key_or_group.split(".") for override in general]
    changed = {key[1] for key in keys if key[0] == "stages" and key[1:]}
    if ["experiment"] not in keys:
        return True
    own = OmegaConf.to_container(_bare((method.input_line,)).stages, resolve=False)
    return bool(own) and all(lists.get(n) == own[n] for n in own.keys() - changed)


def _taken(own: list[str], *, last: bool) -> set[str]:
    """The keys that a user's override does not set in the stage of this list; see ``_compose``."""
    listed = {o.key_or_group for o in OverridesParser.create().parse_overrides(own)}
    return listed | {"output", "stages"} | (set() if last else _OF_THE_LAST)


def _compose(
    general: list[Override],
    own: list[str],
    usual: list[str],
    addressed: list[str],
    *,
    last: bool,
) -> DictConfig:
    """The config of one stage. Of several values for a key the later wins:

    1. ``conf/``, by the groups that are chosen
    2. ``usual``: what a file in ``conf/`` sets below ``stage.<name>``
    3. ``general``: the user's overrides, of those keys that the stage has
    4. ``own``: the stage's list in ``stages``; a user's override of the same key is left out
    5. ``addressed``: the user's ``+stage.<name>.<key>=<value>``

    Two exceptions. ``loss=<file>`` and ``extra=<file>`` reach the ``last`` stage alone, whose
    method the user named; and ``+<key>=<value>`` adds a key that no stage has to the last.
    """
    parse = OverridesParser.create().parse_overrides
    general = [o for o in general if o.key_or_group not in _taken(own, last=last)]
    first, later = parse(usual), parse([*own, *addressed])
    chosen = [o for o in (*first, *general, *later) if _chooses(o)]
    # Which keys the stage has is known once its groups are chosen.
    bare = _bare(tuple(o.input_line for o in chosen))
    general = [o for o in general if _has(bare, o) or (last and _adds(o))]
    values = [o for o in (*first, *general, *later) if not _chooses(o)]
    config = deepcopy(bare)
    # As Hydra does with the overrides that are left when the groups are composed, in a tenth of
    # the time of composing them once more.
    ConfigLoaderImpl._apply_overrides_to_config(values, config)
    # One training; where an experiment lists the stages it is composed with the list.
    config.stages, config.stage = {}, {}
    if not config.loss:
        # A method without losses trains nothing: one empty step, then it is scored and saved.
        config.trainer.steps = 1
    return config


@lru_cache(maxsize=64)
def _bare(lines: tuple[str, ...]) -> DictConfig:
    """The config of the groups alone, to be copied; seeds and the trials of a study share it."""
    return compose("config", [*lines])


def _lines(values: dict[str, Any]) -> list[str]:
    """The overrides that set nested values."""
    return [f"{k}={json.dumps(v, ensure_ascii=False)}" for k, v in flat(values).items()]


def _chooses(override: Override) -> bool:
    """Whether an override chooses an option of a group, and sets no keys of it: ``trainer={}``."""
    return override.key_or_group in _groups() and not isinstance(override.value(), dict)


@cache
def _groups() -> frozenset[str]:
    """The config groups; an override of one chooses an option, such as ``dataset=gta2city``."""
    return frozenset(GlobalHydra.instance().config_loader().list_groups(""))


def _has(config: DictConfig, override: Override) -> bool:
    node: Any = config
    for part in override.key_or_group.split("."):
        if not OmegaConf.is_dict(node) or part not in node:
            return False
        node = node._get_node(part)
    return True


def _adds(override: Override) -> bool:
    return override.is_add() or override.is_force_add()


def _unaddressed(override: Override, name: str) -> str:
    return override.input_line.replace(f"{ADDRESS}{name}.", "", 1).lstrip("+")
