"""How much of the disk a study takes, known before it begins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from uda_hydra.config import plain
from uda_hydra.files import digest_of
from uda_hydra.runs.disk import bytes_of, free_bytes, kept_of
from uda_hydra.runs.stages import Stage

Plans = Sequence[Sequence[Stage]]


def describe_space(plans: Plans, *, trainings: int, seeds: int, folder: Path) -> str:
    """What the checkpoints of a study's ``trainings`` and of their shared starts will take.

    ``plans`` are the stages of its points with one of the ``seeds``.
    """
    keep = plans[0][-1].config.trainer.keep
    needed, free = _space(plans, keep, trainings, seeds), free_bytes(folder)
    text = f"about {_shown(needed)} of checkpoints (trainer.keep={keep}), {_shown(free)} free"
    if needed > free:
        text += f"; trainer.keep=weights takes {_shown(_space(plans, 'weights', trainings, seeds))}"
    return text


def _space(plans: Plans, keep: str, trainings: int, seeds: int) -> float:
    """Bytes that the trainings of all points and seeds leave with ``trainer.keep`` of ``keep``."""
    sizes: dict[str, int] = {}

    def size(stage: Stage, stages: Sequence[Stage]) -> int:
        kept = kept_of(stage, stages, keep)
        key = digest_of([kept, *_deciding(stage)])
        if key not in sizes:
            sizes[key] = bytes_of(stage.config, kept)
        return sizes[key]

    last = [size(stages[-1], stages) for stages in plans]
    starts = {stage.folder: size(stage, stages) for stages in plans for stage in stages[:-1]}
    each = seeds if plans[0][-1].config.start.seed is None else 1
    return sum(last) / len(last) * trainings + sum(starts.values()) * each


def _deciding(stage: Stage) -> list[object]:
    """What decides how large a checkpoint is, up to the numbers of a method."""
    config = stage.config
    optimizer = config.optimizer.algorithm, config.optimizer.momentum
    groups = [plain(config.model), plain(config.extra), config.method._target_]
    return [*groups, config.dataset.classes, *optimizer]


def _shown(size: float | int) -> str:
    return f"{size / 1e9:.3g} GB" if size >= 1e8 else f"{size / 1e6:.3g} MB"
