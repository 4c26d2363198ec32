"""Which of several swept keys matters (fANOVA)."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

from uda_hydra.studies.answer import Answer
from uda_hydra.studies.points import equal
from uda_hydra.studies.records import Value
from uda_hydra.studies.statistics import Estimate, estimate

FEWEST = 10
"""Complete trials below which a forest of trees has nothing to tell."""
FORESTS = 3
"""How often the trees are grown anew, to see how much their answer varies."""
DEPTH = 6
"""Of the trees. Optuna's 64 takes minutes for 1000 trials and moves a share by 0.02."""


@lru_cache(maxsize=1)
def importance(answer: Answer) -> dict[str, Estimate]:
    """Share of the objective's variance over the space that each key explains, largest first.

    In 0..1, over several random forests; empty with one varied key or fewer than ten trials.
    Hutter et al., ICML 2014, as Optuna computes it.
    """
    keys = [key for key in answer.points.keys if len(answer.points.tried(key)) > 1]
    values = {answer.value(trial, answer.key) for trial in answer.complete}
    if len(keys) < 2 or len(answer.complete) < FEWEST or len(values) < 2:
        return {}
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    study = _study(answer, keys)
    forests = [FanovaImportanceEvaluator(max_depth=DEPTH, seed=seed) for seed in range(FORESTS)]
    shares = [get_param_importances(study, evaluator=forest) for forest in forests]
    means = {key: estimate([float(share[key]) for share in shares]) for key in keys}
    return dict(sorted(means.items(), key=lambda item: -item[1].mean))


def _study(answer: Answer, keys: list[str]) -> Any:
    """The complete trials as an Optuna study in memory, over the places of the values."""
    import optuna
    from optuna.exceptions import ExperimentalWarning

    from uda_hydra.studies import optuna2

    optuna2.repair()
    places = {key: [_place(answer, key, t.params[key]) for t in answer.complete] for key in keys}
    spaces = {key: optuna2.interval(min(places[key]), max(places[key])) for key in keys}
    verbosity = optuna.logging.get_verbosity()
    # It would announce itself on the terminal.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study()
    optuna.logging.set_verbosity(verbosity)
    with warnings.catch_warnings():
        # Optuna 2 calls the making of trials experimental; later versions do not.
        warnings.simplefilter("ignore", ExperimentalWarning)
        for i, trial in enumerate(answer.complete):
            params = {key: places[key][i] for key in keys}
            value = answer.value(trial, answer.key)
            study.add_trial(
                optuna.trial.create_trial(params=params, distributions=spaces, value=value)
            )
    return study


def _place(answer: Answer, key: str, value: Value) -> float:
    """Where every choice counts as much as another, and every part of an interval."""
    points = answer.points
    if "choice" in points.study.space.get(key, "choice"):
        return float([equal(value, other) for other in points.tried(key)].index(True))
    return points.measure(key, value)
