"""The sweeper as Hydra loads it before a sweep begins; nothing heavy is imported."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_optuna_sweeper.config import TPESamplerConfig
from omegaconf import MISSING, DictConfig, OmegaConf

from uda_hydra.catalogue import CONF
from uda_hydra.config import plain
from uda_hydra.errors import UserError
from uda_hydra.files import masked
from uda_hydra.settings import NOT_NEGATIVE, POSITIVE, check_ranges
from uda_hydra.studies.keys import divide, split_line

MODULE = "hydra_plugins.uda_hydra"
"""This module's name for Hydra, which builds plugins of this one package."""
PRUNERS: dict[str, dict[str, Any]] = {
    "none": {"_target_": "optuna.pruners.NopPruner"},
    "median": {
        "_target_": "optuna.pruners.MedianPruner",
        "n_startup_trials": 5,
        "n_warmup_steps": 0,
    },
    "percentile": {
        "_target_": "optuna.pruners.PercentilePruner",
        "percentile": 25.0,
        "n_startup_trials": 5,
        "n_warmup_steps": 0,
    },
    "threshold": {
        "_target_": "optuna.pruners.ThresholdPruner",
        "lower": None,
        "upper": None,
        "n_warmup_steps": 0,
    },
    "successive_halving": {"_target_": "optuna.pruners.SuccessiveHalvingPruner"},
    "hyperband": {"_target_": "optuna.pruners.HyperbandPruner"},
}
"""Options of ``hydra/sweeper/pruner``; their steps are training steps."""


@dataclass
class StudyOptions:
    """The keys of ``hydra.sweeper``: the design of a study and how it is run."""

    params: dict[str, Any] | None = None
    """Swept key to choice(...), range(...), logspace(low, high, n), interval(...), tag(log,
    interval(...)) or a list. ``a | b``: the first of these keys that the chosen method has, where
    ``a*`` stands for every key of this form; ``a | none``: left out where the method has none."""
    seeds: list[int] | None = field(default=None, metadata=NOT_NEGATIVE)
    """Every point is trained once with each seed; None for the run's own seed."""
    reference: Any = "auto"
    """Whether the composed values are a point of the study: true, false, or auto, where numbers are
    swept or the values are listed anyway."""
    dry_run: bool = False
    """Check the study and show what it would train, without training."""
    verbose: bool = False
    """Show all that each training prints; false: a line for each, the rest in its output.txt."""
    n_trials: int | None = field(default=None, metadata=POSITIVE)
    """Number of trainings in the whole study; None for all points of a grid, else 20 points."""
    max_hours: float | None = field(default=None, metadata=POSITIVE)
    """Hours of training in the whole study, over all calls and processes: once they are used up, no
    training begins, and those that run finish. None for no limit."""
    directions: list[str] | None = None
    """maximize or minimize, one per objective; None for what suits the objective."""
    storage: str | None = None
    """URL of a database that several machines share; None for a file in the study's folder."""
    n_jobs: int = field(default=1, metadata=POSITIVE)
    """Number of trainings that the launcher gets at once."""
    devices: list[str] | None = None
    """Where the trainings that the launcher gets at once run, such as [cuda:0, cuda:1], one after
    the other; None for ``trainer.device``."""
    max_failures_in_a_row: int = field(default=3, metadata=POSITIVE)
    """The sweep stops after this number of failed trainings in a row."""
    retry_failed: bool = False
    """Try trainings once more that had failed when this process began."""
    robust_within: float = field(default=1.0, metadata=NOT_NEGATIVE)
    """Points of mIoU below the best within which a value is robust."""
    sampler: Any = MISSING
    """auto is a grid where all values are listed, and TPE elsewhere."""
    pruner: Any = MISSING


@dataclass
class StudyConfig(StudyOptions):
    """``hydra.sweeper`` with what Hydra needs to build it."""

    _target_: str = f"{MODULE}.StudySweeper"
    _recursive_: bool = False
    defaults: list[Any] = field(default_factory=lambda: [{"sampler": "auto"}, {"pruner": "none"}])


def check_options(options: StudyOptions) -> None:
    """Raise ValueError for values that a key of ``hydra.sweeper`` cannot hold."""
    check_ranges("hydra.sweeper", options)
    # Not ``in``: 1 equals true.
    if not (isinstance(options.reference, bool) or options.reference == "auto"):
        raise ValueError(
            f"hydra.sweeper.reference must be true, false or auto, got {options.reference}"
        )
    for group in ("sampler", "pruner"):
        node = getattr(options, group)
        target = node.get("_target_") if isinstance(node, dict) else node
        if not str(target).startswith(f"optuna.{group}s."):
            raise ValueError(
                f"hydra.sweeper.{group}={target} is not a {group} of Optuna; choose one by name, "
                f"hydra/sweeper/{group}=..."
            )


def _check_none_given(options: StudyOptions) -> None:
    """Raise UserError for options of a study that a table would not heed."""
    harmless = ("params", "sampler", "pruner")
    given = [
        f"hydra.sweeper.{one.name}={getattr(options, one.name)}"
        for one in fields(options)
        if one.name not in harmless and getattr(options, one.name) != one.default
    ]
    if given:
        raise UserError(
            f"a table is no study and does not heed {', '.join(given)}; seed=7 or seed=0,1 chooses "
            "its seeds, and --cfg job shows its config without training"
        )


def check_single(overrides: Sequence[str]) -> None:
    """Raise UserError for options of a study among the overrides of a single run."""
    given = [line for line in overrides if re.match(r"[+~]*hydra[./]sweeper\b", line)]
    if given:
        raise UserError(
            f"{given[0]} is for a study, and this is a single run: leave it out, or add -m or "
            "sweep=...; --cfg job shows the config without training"
        )


class StudySweeper(Sweeper):
    """Runs a study: see ``uda_hydra.studies.sweeper``, which is imported when it begins."""

    # Hydra registers a plugin by the name of its module, and builds no other.
    __module__ = MODULE

    def __init__(self, **options: Any) -> None:
        self._options = StudyOptions(**{name: plain(node) for name, node in options.items()})

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep the arguments; part of Hydra's interface."""
        self._context, self._task, self._config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> None:
        """Run the study of ``arguments``, the overrides of the command line."""
        if self._config.table is not None:
            _check_none_given(self._options)
            self._run_one_by_one(arguments)
            return
        try:
            check_options(self._options)
        except ValueError as error:
            raise UserError(str(error)) from error
        # A mistyped key is reported before anything slow is imported.
        overrides = divide(self._options.params, arguments, self._config)
        from uda_hydra.studies.sweeper import sweep

        sweep(
            overrides,
            self._options,
            config=self._config,
            context=self._context,
            task=self._task,
        )

    def _run_one_by_one(self, arguments: list[str]) -> None:
        """Run without a study: a table records itself what is done."""
        # Late: Hydra reloads its plugins when it starts, so the class must be looked up here.
        from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

        given = {split_line(argument)[0] for argument in arguments}
        params = {k: v for k, v in (self._options.params or {}).items() if k not in given}
        basic = BasicSweeper(max_batch_size=None, params=params)
        basic.setup(hydra_context=self._context, task_function=self._task, config=self._config)
        # It writes its config into a file; the launcher has its own.
        basic.config = OmegaConf.create(masked(OmegaConf.to_container(self._config, resolve=False)))
        basic.sweep(arguments)


def print_space(arguments: list[str]) -> None:
    """With ``--cfg``, print what the chosen sweep varies, as comments above the config."""
    from hydra._internal.utils import get_args_parser

    args = get_args_parser().parse_args(arguments)
    if args.cfg is None or not any(line.startswith("sweep=") for line in args.overrides):
        return
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", args.overrides, return_hydra_config=True)
    sweeper = config.hydra.sweeper
    print(f"# The search space of sweep={config.hydra.runtime.choices['sweep']}:")
    for override in divide(plain(sweeper.params), args.overrides, config).swept.values():
        print(f"#   {override.input_line}")
    print(f"#   seeds: {plain(sweeper.seeds) or [config.seed]}")


def register_sweeper() -> None:
    """Make ``hydra/sweeper=study`` and its pruners known; call before ``@hydra.main`` runs."""
    sys.modules[MODULE] = sys.modules[__name__]
    Plugins.instance().register(StudySweeper)
    store = ConfigStore.instance()
    store.store(group="hydra/sweeper", name="study", node=StudyConfig)
    auto = TPESamplerConfig(seed=0)
    store.store(group="hydra/sweeper/sampler", name="auto", node=auto)
    for name, node in PRUNERS.items():
        store.store(group="hydra/sweeper/pruner", name=name, node=node)
