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
    "no trials": "No trial has finished with a finite objective yet.",
    "one seed": "{metric} {mean}{unit} with one seed. The spread between seeds is unknown.",
    "seeds": "{metric} {mean}{unit}, mean of {seeds:seed}. Standard deviation between seeds: "
    "{std}{step}.",
    "front": "Pareto front of {metrics}: {front} of {points:point}. {names}.",
    "best": "Best of {points:point}: {best}, {metric} {mean}{unit} ({over}).",
    "flat": "The swept keys had no effect: all {points} points have the same results at every "
    "seed ({metric} {mean}{unit}).",
    "equal": "Same results at every seed: {names}.",
    "idle term": "{key} had no effect: {term} was 0 in every step of every training.",
    "no reference": "The reference ({reference}) has not been compared.",
    "best is reference": "The reference is the best point.",
    "best, one seed": "Best minus reference ({reference}): one seed shows no significance.",
    "best, same": "Best minus reference ({reference}): {gap:+}{step}, {level} % CI [{low:+}, "
    "{high:+}], paired over {seeds:seed}. Not significant.",
    "best, chosen": "Best minus reference ({reference}): {gap:+}{step}, {level} % CI [{low:+}, "
    "{high:+}], paired over {seeds:seed}; corrected for choosing the best of {others}: "
    "[{wide_low:+}, {wide_high:+}]. {verdict}.",
    "other differs": "The other point differs significantly from the reference: {names}.",
    "other is alike": "The other point does not differ significantly from the reference.",
    "others": "{different} of {others:other point} {verb} significantly from the reference, "
    "corrected for {others:comparison}{names}.",
    "effect": "{key} affects the {metric} ({chance}, F-test with seeds as blocks).",
    "no effect": "{key} has no significant effect ({chance}, F-test with seeds as blocks).",
    "curves, one seed": "{first} minus {second}, mean over {values:value}: one seed shows no "
    "significance.",
    "curves": "{first} minus {second}, mean over {values:value}: {gap:+}{step}, {level} % CI "
    "[{low:+}, {high:+}], paired over {seeds:seed}. {verdict}.",
    "curves, several": "{first} minus {second}, mean over {values:value}: {gap:+}{step}, {level} % "
    "CI [{low:+}, {high:+}], paired over {seeds:seed}; corrected for {others:comparison}: "
    "[{wide_low:+}, {wide_high:+}]. {verdict}.",
    "classes": "Classes that change significantly from the reference to the best point, in points "
    "of IoU, corrected for {classes:class} of {others:other point}: {names}.",
    "no class": "None of {classes:class} changes significantly from the reference to the best "
    "point.",
    "range of categories": "Robust range of {key}{doubt}: {names} ({inside} of {values} compared), "
    "within {reach} of the best ({best}).",
    "range of one": "Robust range of {key}{doubt}: unknown, only one value was compared.",
    "range": "Robust range of {key}{doubt}: {first} to {last} ({inside} of {values} values "
    "compared), within {reach} of the best ({best}){ends}.",
    "narrow range": "Robust range of {key}{doubt}: only {first} ({inside} of {values} values "
    "compared); its neighbours are not within {reach} of the best ({best}){ends}.",
    "region": "{inside} of {points:point} {verb} within {reach} of the best{doubt}: {spans}.",
    "importance": "Importance (fANOVA): {shares}. The shares add up to 100 % even if only noise "
    "varies.",
    "caution: one seed": "With one seed, differences between points may be noise.",
    "caution: spread": "Standard deviation between seeds: {spread}{step}, mean over points. The "
    "ends of a range are no more precise.",
    "caution: unequal seeds": "{compared} of {points:point} have seeds {names} and are compared "
    "over them. The others are hollow in the figures.",
    "caution: zero terms": "Loss terms that were 0 in every step of a training: {names}.",
    "caution: pruned": "Pruned trials are listed and not used.",
    "caution: best": "miou/best is selected on target labels, as the best of many evaluations. "
    "miou/last is not.",
    "caution: labels": "Points are compared on target labels, which are unavailable in practice.",
    "selection": "{score}: rank correlation with target mIoU {rank} (mean over {seeds:seed}, "
    "{points:point}). It would choose {chosen}{cost}.",
    "selection, no rank": "{score}: no rank correlation over {points:point}. It would choose "
    "{chosen}{cost}.",
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


def count(number: int | float, noun: str) -> str:
    """A number of things, in the plural where it is not one."""
    plural = "es" if noun.endswith("s") else "s"
    return f"{number:g} {noun}{'' if number == 1 else plural}"


def shown_list(names: list[str], separator: str = ", ") -> str:
    """The first ``MOST_NAMED`` names, and dots where there are more."""
    more = ["..."] if len(names) > MOST_NAMED else []
    return separator.join([*names[:MOST_NAMED], *more])


def shown_tolerance(analysis: StudyAnalysis) -> str:
    """Width of the robust range with its unit."""
    text = f"{analysis.tolerance:.3g}{analysis.objective.step}"
    return text.removesuffix("s") if text == "1 points" else text
