"""What a study asks: read from the sweep's file, the command line and the composed config."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from uda_hydra import build
from uda_hydra.config import plain, quoted, settings
from uda_hydra.engine.label_free import DIRECTIONS
from uda_hydra.errors import UserError
from uda_hydra.files import digest_of
from uda_hydra.provenance import command
from uda_hydra.runs.identity import identity
from uda_hydra.runs.stages import plan
from uda_hydra.studies import storage
from uda_hydra.studies.queue import Design, Job
from uda_hydra.studies.space import Space, parse

SWEEPS = Path(__file__).parents[2] / "sweeps"
MINIMIZED = {"seconds", "peak_memory_gb"}
POINTS = 20
"""Of a study that draws its points, where ``n_trials`` is not given."""
QUOTES = "'\""
SET_BY_US = ("seed", "output", "start.folder", "trial")


@dataclass(frozen=True)
class StudySpec:
    """A study before it is run."""

    folder: Path
    fixed: list[str]
    """Overrides of every trial."""
    design: Design
    objectives: list[str]
    directions: list[str]
    options: dict[str, Any] = field(repr=False)
    config: DictConfig = field(repr=False)
    """Composed, without what is swept and without ``hydra``."""
    choices: dict[str, str | None] = field(repr=False)
    """Of every config group."""
    command: str
    """That goes on with the study."""
    recipe: str
    """Stands for all that decides the numbers of the study."""

    @property
    def storage(self) -> str | None:
        """``hydra.sweeper.storage``."""
        return self.options["storage"]

    @property
    def at_once(self) -> int:
        """Trainings that the launcher gets at once."""
        return self.options["n_jobs"]

    @property
    def most_failures(self) -> int:
        """In a row; the sweep stops then."""
        return self.options["max_failures_in_a_row"]

    @property
    def tolerance(self) -> float:
        """Points of mIoU below the best within which a value is robust."""
        return self.options["robust_within"]

    @property
    def pruned(self) -> bool:
        """Whether a pruner may end trainings."""
        return self.choices["hydra/sweeper/pruner"] != "none"

    def sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """The sampler of ``hydra/sweeper/sampler``; its seed and ``number`` decide the draw."""
        node = OmegaConf.create(self.options["sampler"])
        if "seed" in node:
            node.seed = (node.seed or 0) * 1_000_003 + number
        return instantiate(node)

    def overrides(self, job: Job) -> list[str]:
        """The command line of one training."""
        swept = [f"{name}={_text(value)}" for name, value in job.point.items()]
        names = ",".join(name.lstrip("+") for name in job.point)
        return [
            *self.fixed,
            *swept,
            f"seed={job.seed}",
            quoted(f"output={self.folder / job.folder}"),
            quoted(f"start.folder={self.folder / 'start'}"),
            quoted(f"trial.study={self.folder}"),
            f"trial.number={job.number}",
            f"trial.swept=[{names}]",
            f"trial.prune={str(self.pruned).lower()}",
        ]

    def shown(self, job: Job) -> str:
        """The training in words."""
        values = " ".join(f"{name}={_text(value)}" for name, value in job.point.items())
        again = f", continues trial {job.continues}" if job.continues is not None else ""
        return f"{values} seed {job.seed}{again}".strip()

    def check(self) -> None:
        """Raise UserError for what can be known before anything is run or written."""
        for stage in plan(self.config, self.fixed, "study"):
            build.check(stage.config)
        if self.storage is not None:
            storage.check(self.storage)
        if self.pruned and self.objectives not in (["miou/last"], ["miou/best"]):
            raise UserError(
                "hydra/sweeper/pruner ends trainings of low mIoU: it needs objective=miou/last, "
                f"not {self.objectives}"
            )
        if self.at_once > 1 and self.choices["hydra/launcher"] == "basic":
            raise UserError(
                f"hydra.sweeper.n_jobs={self.at_once} needs hydra/launcher=joblib or "
                "submitit_slurm; or start the same command several times"
            )

    def facts(self, facts: dict[str, str]) -> dict[str, Any]:
        """What the report tells of the study beside its trials."""
        space = self.design.space
        method = self.choices["method"]
        planned = self.design.planned() if self.design.grid else []
        swept = ", ".join(space.written) or f"How much do seeds of {method} differ"
        return {
            "question": _header(self.choices.get("sweep")) or f"{swept}?",
            "command": self.command,
            "recipe": self.recipe,
            "objectives": self.objectives,
            "space": space.written,
            "reference": space.reference or {},
            "seeds": [*self.design.seeds],
            "planned": planned,
            "facts": facts
            | {
                "command": self.command,
                "method": method,
                "dataset": self.config.dataset.name,
                "published": self.config.published or method,
                "network": self.choices["model"],
                "steps": str(self.config.trainer.steps),
                "pruner": self.choices["hydra/sweeper/pruner"],
                "sampler": "grid" if self.design.grid else self.choices["hydra/sweeper/sampler"],
            },
        }


def parse_study(arguments: list[str], options: dict[str, Any], config: DictConfig) -> StudySpec:
    """The question that a command line asks; UserError where it makes no sense."""
    choices = dict(config.hydra.runtime.choices)
    options = {name: plain(value) for name, value in options.items()}
    space, fixed, swept_seeds = parse(options["params"], arguments, config)
    bare = OmegaConf.masked_copy(config, [name for name in config if name != "hydra"])
    # A fixed seed on the command line is the only one.
    listed = None if any(line.startswith("seed=") for line in fixed) else options["seeds"]
    seeds = tuple(swept_seeds or listed or [config.seed])
    objectives = [config.objective] if isinstance(config.objective, str) else [*config.objective]
    grid = _is_grid(space, choices["hydra/sweeper/sampler"])
    every = len(space.points()) if grid else POINTS
    design = Design(
        space,
        _unlike(seeds),
        grid,
        options["n_trials"] or every * len(seeds),
        options["retry_failed"],
    )
    fixed = [line for line in fixed if not _ours(line)]
    directions = _directions(objectives, options["directions"])
    recipe = [_recipe(bare, fixed), space.written, objectives, directions]
    recipe += [choices["hydra/sweeper/pruner"]]
    name = [choices.get("sweep") or "grid", choices["method"], choices["dataset"]]
    label = "-".join(name).replace("/", "-")
    folder = bare.output or f"outputs/studies/{label}-{digest_of(recipe)}"
    return StudySpec(
        Path(folder),
        fixed,
        design,
        objectives,
        directions,
        options,
        bare,
        choices,
        command=_command([*config.hydra.overrides.hydra, *arguments], choices),
        recipe=digest_of(recipe),
    )


def _command(given: Sequence[str], choices: dict[str, str | None]) -> str:
    """The command line without what Hydra and a report add to it, and without a password."""
    lines = []
    for line in given:
        name, _, value = line.partition("=")
        if name == "hydra.sweeper.storage":
            line = quoted(f"{name}={storage.shown(value.strip(QUOTES))}")
        if name not in ("hydra.mode", "task"):
            lines.append(line)
    return command(lines if choices.get("sweep") else ["-m", *lines])


def _recipe(config: DictConfig, fixed: list[str]) -> dict[str, Any]:
    """What decides the numbers of all trials, beside point and seed."""
    values = identity(config) | {"start": settings(config.start).__dict__ | {"folder": None}}
    addressed = [line for line in fixed if line.lstrip("+").startswith("stage.")]
    return {name: value for name, value in values.items() if name != "seed"} | {"to": addressed}


def _ours(line: str) -> bool:
    name = OverridesParser.create().parse_overrides([line])[0].key_or_group
    return any(name == key or name.startswith(f"{key}.") for key in SET_BY_US)


def _is_grid(space: Space, sampler: str) -> bool:
    if sampler == "grid" and not space.listed:
        raise UserError(
            "hydra/sweeper/sampler=grid needs listed values, choice(...) or logspace(...), "
            f"for every key: {space.written}"
        )
    return space.listed and sampler in ("auto", "grid")


def _directions(objectives: list[str], given: list[str] | None) -> list[str]:
    if given is None:
        return [
            "minimize" if name in MINIMIZED else DIRECTIONS.get(name, "maximize")
            for name in objectives
        ]
    if len(given) != len(objectives) or {*given} - {"maximize", "minimize"}:
        raise UserError(
            f"hydra.sweeper.directions={given} must be maximize or minimize, "
            f"one for each of {objectives}"
        )
    return given


def _unlike(seeds: Sequence[int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(seeds))


def _header(sweep: str | None) -> str:
    """The question that a sweep's file begins with."""
    path = SWEEPS / f"{sweep}.yaml"
    return path.read_text().splitlines()[0].removeprefix("# ") if path.is_file() else ""


def _text(value: Any) -> str:
    """A value as Hydra reads it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
