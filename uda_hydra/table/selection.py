"""Model selection without target labels over all models of a table, and what it would cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from scipy import stats

from uda_hydra.engine.label_free import DIRECTIONS
from uda_hydra.engine.scores import MEAN
from uda_hydra.files import is_finite, write_text
from uda_hydra.studies.report.metrics import Metric
from uda_hydra.studies.report.statistics import rank_correlation
from uda_hydra.studies.report.tables import Rows, aligned, as_csv
from uda_hydra.studies.report.trainings import evaluations
from uda_hydra.table.analyse import ORACLE, TableAnalysis
from uda_hydra.table.rows import Training

FINAL, ALL = "last", "every evaluation"
"""Which models there are to choose from: those that were kept, or those of all evaluations."""


class Model(NamedTuple):
    """A candidate: its name and its scores, as results hold them."""

    name: str
    scores: dict[str, float]


@dataclass(frozen=True)
class Choice:
    """What one label-free score would have chosen among ``count`` models."""

    metric: Metric
    count: int
    spearman: float
    """Rank correlation with target mIoU, +1: the same order; nan where it is not defined."""
    kendall: float
    """The same by pairs of models (tau-b)."""
    chosen: str
    chosen_miou: float
    """Target mIoU in percent of the model with the best score."""
    best: str
    best_miou: float
    mean_miou: float
    """Of a model chosen at random."""


def models(analysis: TableAnalysis, which: str) -> list[Model]:
    """The candidates; the oracle is none, since without target labels nobody has it.

    A row that only makes labels scores as what it begins with: models of a seed that have the same
    scores are one candidate.
    """
    trainings = [
        (row.name, seed, training)
        for row in analysis.rows
        if row.name != ORACLE
        for seed, training in row.trainings.items()
    ]
    found: dict[tuple[object, ...], Model] = {}
    for name, seed, training in trainings:
        for one in _models_of(f"{name} seed {seed}", training, which):
            scores = (one.scores.get(key) for key in (MEAN, *DIRECTIONS))
            found.setdefault((seed, *scores), one)
    return [*found.values()]


def _models_of(name: str, training: Training, which: str) -> list[Model]:
    if which == FINAL:
        return [Model(name, training.result)]
    steps = evaluations(training.folder, MEAN)
    return [Model(f"{name} step {step.step}", step.values) for step in steps]


def choose(candidates: Sequence[Model], key: str) -> Choice | None:
    """The choice by one score among the models that have it; None for fewer than two."""
    known = [m for m in candidates if all(is_finite(m.scores.get(k)) for k in (key, MEAN))]
    if len(known) < 2:
        return None
    sign = 1 if DIRECTIONS[key] == "maximize" else -1
    score = [sign * one.scores[key] for one in known]
    miou = [100 * one.scores[MEAN] for one in known]
    chosen, best = (max(range(len(known)), key=values.__getitem__) for values in (score, miou))
    spearman = rank_correlation(score, miou)
    return Choice(
        Metric(key),
        len(known),
        spearman,
        math.nan if math.isnan(spearman) else float(stats.kendalltau(score, miou).statistic),
        known[chosen].name,
        miou[chosen],
        known[best].name,
        miou[best],
        sum(miou) / len(miou),
    )


def write(folder: Path, analysis: TableAnalysis) -> str:
    """Write ``selection.md`` and ``selection.csv``; returns the former, "" if nothing is known."""
    rows: Rows = [["models", "score", "n", "Spearman", "Kendall", "chosen", "mIoU %", "lost"]]
    rows[0] += ["random loses", "best"]
    for which in (FINAL, ALL):
        candidates = models(analysis, which)
        found = (choose(candidates, key) for key in DIRECTIONS)
        rows += [_line(which, choice) for choice in found if choice is not None]
    if len(rows) == 1:
        return ""
    text = "\n".join(
        [
            "What a choice without target labels would have cost, in points of mIoU:",
            "",
            # The best model, whose name is long, is in the CSV alone.
            *(f"    {line}" for line in aligned([row[:-1] for row in rows])),
            "",
            "Rank correlations are with target mIoU; +1: the same order. All rows but the oracle "
            "and those that only make labels, all seeds.",
        ]
    )
    write_text(folder / "selection.md", text + "\n")
    write_text(folder / "selection.csv", as_csv(rows))
    return text + "\n"


def _line(which: str, choice: Choice) -> list[str]:
    numbers = [
        choice.chosen_miou,
        choice.best_miou - choice.chosen_miou,
        choice.best_miou - choice.mean_miou,
    ]
    miou, lost, random = (f"{number:.2f}" for number in numbers)
    ranks = [f"{r:+.2f}" if math.isfinite(r) else "-" for r in (choice.spearman, choice.kendall)]
    head = [which, choice.metric.key, str(choice.count), *ranks]
    return [*head, choice.chosen, miou, lost, random, f"{choice.best} ({choice.best_miou:.2f})"]
