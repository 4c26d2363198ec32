"""The specification of a study, from the sweep's file, the command line and the config."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from hydra.core.override_parser.types import Override
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from uda_hydra.catalogue import SWEEPS, first_sentence
from uda_hydra.config import settings
from uda_hydra.engine.device import find_device
from uda_hydra.engine.label_free import DIRECTIONS
from uda_hydra.errors import UserError
from uda_hydra.files import digest_of, quoted, shown_value
from uda_hydra.provenance import command
from uda_hydra.published import published_as
from uda_hydra.runs.identity import identity
from uda_hydra.runs.layout import check_folder
from uda_hydra.studies import storage
from uda_hydra.studies.keys import Overrides, short_names, split_line
from uda_hydra.studies.plugin import StudyOptions
from uda_hydra.studies.queue import Design, Job
from uda_hydra.studies.space import Space, parse_space

MINIMIZED = {"seconds", "peak_memory_gb"}
POINTS = 20
"""Number of points of a study that draws them, where ``n_trials`` is not given."""
OF_TRAININGS = ("train", "report", "export_study")
"""Tasks of one study, that of trainings; one of evaluations or of AdaBN is another."""

SET_BY_US = ("seed", "output", "start.folder", "trial")


@dataclass(frozen=True, kw_only=True)
class StudySpec:
    """A study before it is run."""

    folder: Path
    fixed: list[str]
    """Overrides of every trial."""
    design: Design
    objectives: dict[str, str]
    """Key of ``result.json`` to maximize or minimize."""
    options: StudyOptions = field(repr=False)
    config: DictConfig = field(repr=False)
    """The composed config without the swept values and without ``hydra``."""
    choices: dict[str, str | None] = field(repr=False)
    """The option chosen in every config group."""
    command: str
    """The command line that resumes the study."""
    recipe: str
    """Digest of everything that decides the numbers of the study."""

    @property
    def url(self) -> str:
        """The URL of the database, which may hold a password."""
        return storage.url_of(self.folder, self.options.storage)

    @property
    def pruned(self) -> bool:
        """Whether a pruner may end trainings."""
        return self.choices["hydra/sweeper/pruner"] != "none"

    def sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """The sampler of ``hydra/sweeper/sampler``; its seed and ``number`` decide the draw."""
        node = OmegaConf.create(self.options.sampler)
        if "seed" in node:
            # NumPy takes no larger seed.
            node.seed = ((node.seed or 0) * 1_000_003 + number) % 2**32
        return instantiate(node)

    def overrides(self, job: Job, place: int = 0) -> list[str]:
        """The command line of one training; ``place`` is its number among those at once."""
        devices = self.options.devices or []
        swept = [f"{name}={_text(value)}" for name, value in job.point.items()]
        names = ",".join(name.lstrip("+") for name in job.point)
        return [
            *self.fixed,
            *swept,
            *([f"trainer.device={devices[place % len(devices)]}"] if devices else []),
            f"seed={job.seed}",
            quoted(f"output={self.folder / job.folder}"),
            quoted(f"start.folder={self.folder / 'start'}"),
            quoted(f"trial.study={self.folder}"),
            f"trial.number={job.number}",
            f"trial.swept=[{names}]",
            f"trial.prune={str(self.pruned).lower()}",
        ]

    def describe(self, job: Job) -> str:
        """Point and seed of a training in short, and the trial that it continues."""
        names = short_names([*job.point])
        values = [f"{names[key]}={shown_value(value)}" for key, value in job.point.items()]
        again = f", continues trial {job.continues}" if job.continues is not None else ""
        return f"{' '.join([*values, f'seed {job.seed}'])}{again}"

    @property
    def question(self) -> str:
        """What the sweep's file asks, or the swept keys where there is no file."""
        swept = ", ".join(self.design.space.written)
        seeds = f"How much do seeds of {self.choices['method']} differ"
        return _header(self.choices.get("sweep")) or f"{swept or seeds}?"

    def check(self) -> None:
        """Raise UserError for what can be known without composing the trainings."""
        task, objectives = self.config.task, [*self.objectives]
        scored = task == "evaluate" and objectives == ["miou/last"]
        if task not in ("train", "adabn") and not scored:
            raise UserError(
                f"task={task} has no {', '.join(objectives)} that a study could compare; leave out "
                "-m and sweep="
            )
        check_folder(self.folder, "study")
        for device in self.options.devices or []:
            find_device(device)
        if self.options.storage is not None:
            storage.check_database(self.options.storage)
        if self.pruned and objectives not in (["miou/last"], ["miou/best"]):
            raise UserError(
                "hydra/sweeper/pruner ends trainings of low mIoU: it needs objective=miou/last, "
                f"not {objectives}"
            )
        if self.options.n_jobs > 1 and self.choices["hydra/launcher"] == "basic":
            raise UserError(
                f"hydra.sweeper.n_jobs={self.options.n_jobs} needs hydra/launcher=joblib, "
                "submitit_slurm or ray; or start the same command several times"
            )

    def facts(self, facts: dict[str, str]) -> dict[str, Any]:
        """What the report shows of the study besides its trials."""
        space = self.design.space
        method = self.choices["method"]
        planned = self.design.planned() if self.design.grid else []
        return {
            "question": self.question,
            "command": self.command,
            "recipe": self.recipe,
            "objectives": [*self.objectives],
            "space": space.written,
            "reference": space.reference or {},
            "seeds": [*self.design.seeds],
            "planned": planned,
            "facts": facts
            | {
                "command": self.command,
                "method": method,
                "dataset": self.config.dataset.name,
                "published": published_as(self.config),
                "network": self.choices["model"],
                "steps": str(self.config.trainer.steps),
                "pruner": self.choices["hydra/sweeper/pruner"],
                "sampler": "grid" if self.design.grid else self.choices["hydra/sweeper/sampler"],
            },
        }


def parse_study(overrides: Overrides, options: StudyOptions, config: DictConfig) -> StudySpec:
    """The study of a command line; UserError where it makes no sense.

    ``config`` is the composed config with its ``hydra`` node.
    """
    choices = dict(config.hydra.runtime.choices)
    bare = OmegaConf.masked_copy(config, [name for name in config if name != "hydra"])
    space, swept_seeds = parse_space(overrides, config, reference=options.reference)
    # A fixed seed on the command line is the only one.
    listed = None if "seed" in overrides.fixed else options.seeds
    seeds = tuple(dict.fromkeys(swept_seeds or listed or [config.seed]))
    grid = _is_grid(space, choices["hydra/sweeper/sampler"])
    total = options.n_trials or (space.size if grid else POINTS) * len(seeds)
    if space.listed:
        total = min(total, space.size * len(seeds))
    fixed = [line.input_line for line in overrides.fixed.values() if not _is_set_by_us(line)]
    objectives = _objectives(config.objective, options.directions)
    goals = [[*objectives], [*objectives.values()]]
    pruner = choices["hydra/sweeper/pruner"]
    without = ["no reference"] if space.reference is None else []
    recipe = digest_of([_recipe(bare, fixed), space.written, *goals, pruner, *without])
    shared = [choices[group] for group in ("method", "dataset") if group not in space.written]
    label = "-".join([choices.get("sweep") or "grid", *shared]).replace("/", "-")
    return StudySpec(
        folder=Path(bare.output or f"outputs/studies/{label}-{recipe}"),
        fixed=fixed,
        design=Design(space, seeds, grid, total, options.retry_failed, options.max_hours),
        objectives=objectives,
        options=options,
        config=bare,
        choices=choices,
        command=_command([*config.hydra.overrides.hydra, *config.hydra.overrides.task], choices),
        recipe=recipe,
    )


def _command(given: Sequence[str], choices: dict[str, str | None]) -> str:
    """The command line without what Hydra and a report add to it, and without passwords."""
    added = {f"task={task}" for task in OF_TRAININGS}
    lines = [x for x in given if x not in added and split_line(x)[0] != "hydra.mode"]
    return command(lines if choices.get("sweep") else ["-m", *lines])


def _recipe(config: DictConfig, fixed: list[str]) -> dict[str, Any]:
    """What decides the numbers of all trials, except point and seed."""
    values = identity(config) | {"start": settings(config.start).__dict__ | {"folder": None}}
    if config.task not in OF_TRAININGS:
        values["task"] = config.task
    addressed = [line for line in fixed if line.lstrip("+").startswith("stage.")]
    return {name: value for name, value in values.items() if name != "seed"} | {"to": addressed}


def _is_set_by_us(override: Override) -> bool:
    name = override.key_or_group
    return any(name == key or name.startswith(f"{key}.") for key in SET_BY_US)


def _is_grid(space: Space, sampler: str) -> bool:
    if sampler == "grid" and not space.listed:
        raise UserError(
            "hydra/sweeper/sampler=grid needs listed values, choice(...) or logspace(...), "
            f"for every key: {space.written}"
        )
    return space.listed and sampler in ("auto", "grid")


def _objectives(given: Any, directions: list[str] | None) -> dict[str, str]:
    """Each objective with its direction: the given one, or what is better for such a number."""
    names = [given] if isinstance(given, str) else [*given]
    if directions is None:
        best = dict.fromkeys(MINIMIZED, "minimize") | DIRECTIONS
        return {name: best.get(name, "maximize") for name in names}
    if len(directions) != len(names) or {*directions} - {"maximize", "minimize"}:
        raise UserError(
            f"hydra.sweeper.directions={directions} must be maximize or minimize, "
            f"one for each of {names}"
        )
    return dict(zip(names, directions, strict=True))


def _header(sweep: str | None) -> str:
    """The question that a sweep's file begins with."""
    path = SWEEPS / f"{sweep}.yaml"
    return first_sentence(path) if path.is_file() else ""


def _text(value: Any) -> str:
    """A value as Hydra reads it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
