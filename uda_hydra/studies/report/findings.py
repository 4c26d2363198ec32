"""A finding is a kind and its numbers; every kind has one English sentence."""

from __future__ import annotations

from dataclasses import dataclass
from string import Formatter
from typing import Any

from uda_hydra.studies.report.analyse import StudyAnalysis
from uda_hydra.studies.report.metrics import Metric
from uda_hydra.studies.report.statistics import LEVEL

MOST_NAMED = 8
"""The number of points that one sentence names."""
SENTENCES = {
    "no trials": "No trial is complete with a finite objective: there is no answer yet.",
    "one seed": "{metric} {mean}{unit} (one seed); with one seed the spread is not known.",
    "seeds": "{metric} {mean}{unit} (mean of {seeds:seed}); between seeds it varies by {std}{step} "
    "(standard deviation).",
    "front": "Pareto front of {metrics}, {front} of {points:point}: {names}.",
    "best": "Best of {points:point}: {best}, {metric} {mean}{unit} ({over}).",
    "no reference": "The paper's point is not among those compared: nothing is compared with it.",
    "best is reference": "The best point is the paper's.",
    "best, one seed": "Best against the paper's {reference}: no difference can be shown with one "
    "seed.",
    "best, same": "Best against the paper's {reference}: {gap:+}{step}, {level} % interval "
    "[{low:+}, {high:+}] over {seeds:seed} (paired): no significant difference.",
    "best, chosen": "Best against the paper's {reference}: {gap:+}{step}, {level} % interval "
    "[{low:+}, {high:+}] over {seeds:seed} (paired); allowing for having chosen the best of "
    "{others}, [{wide_low:+}, {wide_high:+}]: {verdict}.",
    "others": "Of {others:other point}, {different} {verb} significantly from the paper's, "
    "allowing for {others:comparison}{names}.",
    "effect": "Over all its values {key} changes the {metric} ({chance}, F-test with seeds as "
    "blocks).",
    "no effect": "Over all its values {key} has no significant effect ({chance}, F-test with "
    "seeds as blocks).",
    "curves, one seed": "{first} against {second}, averaged over {values:value}: no difference can "
    "be shown with one seed.",
    "curves": "{first} against {second}, averaged over {values:value}: {gap:+}{step}, {level} % "
    "interval [{low:+}, {high:+}] over {seeds:seed} (paired): {verdict}.",
    "classes": "Classes at the best point against the paper's, points of IoU, allowing for "
    "{classes:class}: {names}.",
    "no class": "Classes at the best point against the paper's: of {classes:class}, none gains or "
    "loses significantly.",
    "range of categories": "Robust range of {key}{doubt}: {names}, {inside} of {values} compared, "
    "are within {reach} of the best ({best}).",
    "range of one": "Robust range of {key}{doubt}: not known, only one value was compared.",
    "range": "Robust range of {key}{doubt}: {first} to {last} ({inside} of {values} values "
    "compared) are within {reach} of the best ({best}){ends}.",
    "narrow range": "Robust range of {key}{doubt}: {first} alone of {values} values compared; no "
    "neighbour is within {reach} of the best ({best}).",
    "region": "{inside} of {points:point} {verb} within {reach} of the best{doubt}; among them "
    "{spans}.",
    "importance": "Importance (fANOVA; the shares sum to one even where only noise varies): "
    "{shares}.",
    "caution: one seed": "With one seed the spread between seeds is not known: points cannot be "
    "distinguished, and best and range may be the seed's.",
    "caution: spread": "Between seeds a point varies by {spread}{step} (standard deviation, "
    "averaged over points); the border of a range is no sharper than that.",
    "caution: unequal seeds": "Compared are the {compared} of {points:point} that have seeds "
    "{names}, over these seeds; the others are shown hollow.",
    "caution: zero terms": "In {trials:trial} a term of the loss with a weight was 0 in every step "
    "and had no part in the training: {names}.",
    "caution: pruned": "Pruned trials are not responses: they are listed, and left out otherwise.",
    "caution: best": "miou/best is selected on target labels: the best of many evaluations, which "
    "cannot be chosen without these labels. miou/last is not.",
    "caution: labels": "Points are compared on target labels: without them this choice cannot be "
    "made.",
    "selection": "{score}: rank correlation with target mIoU {rank} (mean over {seeds:seed}, "
    "{points:point}); would have chosen {chosen}{cost}.",
    "selection, no rank": "{score}: rank correlation not defined with {points:point}; would have "
    "chosen {chosen}{cost}.",
}


class _Sentence(Formatter):
    """Formats floats in the units of a metric, and ``{number:noun}`` with the right plural."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def format_field(self, value: Any, spec: str) -> str:
        if isinstance(value, float):
            return self._metric.show(value, spec)
        if isinstance(value, int) and spec:
            return count(value, spec)
        return str(value)


@dataclass(frozen=True)
class Finding:
    """One thing that a study shows."""

    kind: str
    """A key of ``SENTENCES``."""
    values: dict[str, Any]
    """What the sentence names; numbers are in shown units."""
    metric: Metric

    def __str__(self) -> str:
        """The finding as an English sentence."""
        return _Sentence(self.metric).format(SENTENCES[self.kind], **self.values)


def make_finding(analysis: StudyAnalysis, kind: str, /, **values: Any) -> Finding:
    """A finding about the objective; name, units and level are given to every sentence."""
    metric = analysis.objective
    unit = f" {metric.unit}" if metric.unit else ""
    plain = {
        "metric": metric.name,
        "unit": unit,
        "step": metric.step,
        "level": f"{100 * LEVEL:.0f}",
    }
    return Finding(kind, plain | values, metric)


def count(number: int, noun: str) -> str:
    """A number of things, in the plural where it is not one."""
    plural = "es" if noun.endswith("s") else "s"
    return f"{number} {noun}{'' if number == 1 else plural}"


def shown_list(names: list[str], separator: str = ", ") -> str:
    """The first ``MOST_NAMED`` names, and dots where there are more."""
    more = ["..."] if len(names) > MOST_NAMED else []
    return separator.join([*names[:MOST_NAMED], *more])


def shown_tolerance(analysis: StudyAnalysis) -> str:
    """Width of the robust range with its unit."""
    text = f"{analysis.tolerance:.3g}{analysis.objective.step}"
    return text.removesuffix("s") if text == "1 points" else text
