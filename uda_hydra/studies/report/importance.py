"""Which of several swept keys matters (fANOVA)."""

from __future__ import annotations

import logging
import random
from functools import lru_cache
from typing import Any

from uda_hydra.studies import optuna2
from uda_hydra.studies.records import Value
from uda_hydra.studies.report.analyse import StudyAnalysis
from uda_hydra.studies.report.statistics import Estimate, estimate

log = logging.getLogger(__name__)
FEWEST = 10
"""The number of complete trials below which importance is not estimated."""
FORESTS = 3
"""The number of random forests, whose spread is shown."""
MOST = 1000
"""Trials that the forests are grown on, drawn from more: Optuna copies each many times."""
DEPTH = 6
"""Depth of the trees. Optuna's 64 takes minutes for 1000 trials and moves a share by 0.02."""


@lru_cache(maxsize=1)
def importance(analysis: StudyAnalysis) -> dict[str, Estimate]:
    """Share of the objective's variance over the space that each key explains, largest first.

    In 0..1, over several random forests; empty with one varied key, fewer than ten trials, or
    values of which no forest can be grown.
    Hutter et al., ICML 2014, as Optuna computes it.
    """
    keys = [key for key in analysis.points.keys if len(analysis.points.tried(key)) > 1]
    values = {analysis.value(trial, analysis.key) for trial in analysis.complete}
    if len(keys) < 2 or len(analysis.complete) < FEWEST or len(values) < 2:
        return {}
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    forests = [FanovaImportanceEvaluator(max_depth=DEPTH, seed=seed) for seed in range(FORESTS)]
    try:
        study = _study(analysis, keys)
        shares = [get_param_importances(study, evaluator=forest) for forest in forests]
    # Swept values are the user's: too large or too close ones cost the importance alone.
    except (ValueError, ArithmeticError):
        log.debug("the importance of the keys cannot be estimated", exc_info=True)
        return {}
    means = {key: estimate([float(share[key]) for share in shares]) for key in keys}
    return dict(sorted(means.items(), key=lambda item: -item[1].mean))


def _study(analysis: StudyAnalysis, keys: list[str]) -> Any:
    """The complete trials as an Optuna study in memory, over the places of the values."""
    import optuna

    optuna2.repair()
    trials = analysis.complete
    if len(trials) > MOST:
        # At random: in equal steps through a grid a key might always have the same value.
        trials = random.Random(0).sample(trials, MOST)
    places = {key: [_place(analysis, key, t.params[key]) for t in trials] for key in keys}
    spaces = {key: optuna2.interval(min(places[key]), max(places[key])) for key in keys}
    verbosity = optuna.logging.get_verbosity()
    # Optuna would announce the study on the terminal.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study()
    optuna.logging.set_verbosity(verbosity)
    for i, trial in enumerate(trials):
        params = {key: places[key][i] for key in keys}
        value = analysis.value(trial, analysis.key)
        study.add_trial(optuna.trial.create_trial(params=params, distributions=spaces, value=value))
    return study


def _place(analysis: StudyAnalysis, key: str, value: Value) -> float:
    """The coordinate of a value: choices are evenly spaced, intervals keep their scale."""
    points = analysis.points
    if "interval" not in points.study.space.get(key, ""):
        return float(points.tried(key).index(value))
    return points.measure(key, value)
