"""The trainings of a study, composed and checked before the first of them begins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hydra import compose
from optuna.distributions import CategoricalDistribution

from uda_hydra.config import plain
from uda_hydra.errors import UserError, explain
from uda_hydra.files import digest_of
from uda_hydra.runs.checks import check_init, check_training
from uda_hydra.runs.stages import Stage, plan
from uda_hydra.studies.queue import Design, Job
from uda_hydra.studies.records import Point
from uda_hydra.studies.space import Space, point_key
from uda_hydra.studies.spec import StudySpec

MOST = 100
"""A grid of more points is checked as drawn points are; a second a point is too long then."""


def check_trainings(spec: StudySpec) -> list[list[Stage]]:
    """The stages of the points that can be known, each checked; UserError for the first bad one.

    They are all points of a grid, and elsewhere every value and both ends of each key.
    """
    plans, fitting = [], set()
    for point in known_points(spec.design):
        with _naming(point):
            stages = _plan(spec, point)
            for stage in stages:
                check_training(stage.config)
                weights = _weights(stage)
                if weights not in fitting:
                    check_init(stage.config)
                    fitting.add(weights)
        plans.append(stages)
    return plans


def known_points(design: Design) -> list[Point]:
    """The points of a grid; of a large one, or where points are drawn, those at each key's ends."""
    points = [point for point, _ in design.planned()] if design.grid else []
    found = {point_key(point): point for point in points}
    if not design.grid or len(found) > MOST:
        found = {point_key(point): point for point in _ends(design.space)}
    return [*found.values()]


def _ends(space: Space) -> Iterator[Point]:
    """Each key at each of its values or at both ends, the other keys as in the reference."""
    values = {
        name: d.choices if isinstance(d, CategoricalDistribution) else (d.low, d.high)
        for name, d in space.distributions.items()
    }
    base = space.reference or {name: some[0] for name, some in values.items()}
    yield base
    for name, some in values.items():
        yield from (base | {name: value} for value in some)


def _plan(spec: StudySpec, point: Point) -> list[Stage]:
    """The stages of a training at a point, with the study's first seed."""
    lines = spec.overrides(Job(0, 0, point, spec.design.seeds[0], "trials/0000", None))
    grouped = point.keys() & spec.choices.keys()
    return plan(compose("config", lines) if grouped else spec.config, lines)


def _weights(stage: Stage) -> str:
    """What decides whether ``init`` fits the network."""
    config = stage.config
    return digest_of([config.init, plain(config.model), config.dataset.classes])


@contextmanager
def _naming(point: Point) -> Iterator[None]:
    """Errors of the user, of Hydra and of OmegaConf become a UserError that says where."""
    try:
        yield
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        if len(point) > 1 or not any(name in message for name in point):
            message += f" (at {', '.join(f'{name}={value}' for name, value in point.items())})"
        raise UserError(message) from error
