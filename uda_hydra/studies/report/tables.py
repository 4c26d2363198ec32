"""The tables of a report: points, trials, the Pareto front, what was left out, and facts."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

from uda_hydra.files import csv_cell, is_finite
from uda_hydra.published import Curve, sensitivity
from uda_hydra.studies.records import Trial
from uda_hydra.studies.report.analyse import StudyAnalysis
from uda_hydra.studies.report.commands import command_of
from uda_hydra.studies.report.findings import shown_tolerance
from uda_hydra.studies.report.metrics import Metric, shown_value
from uda_hydra.studies.report.points import PointResults, equal, shown_point

Rows = list[list[str]]
"""The first row is the head."""
PUBLISHED = "published"
AS_PUBLISHED = ("miou/last", "miou/best")
"""Objectives that published values of target mIoU can stand beside."""
LEFT_OUT = ("failed", "interrupted", "pruned")
NOT_FINITE = "objective is not a finite number"


def published(analysis: StudyAnalysis) -> list[Curve]:
    """Published curves for the method (or ``published=``) and data set; of target mIoU alone."""
    axis, facts = analysis.points.axis, analysis.study.facts
    if axis is None or analysis.key not in AS_PUBLISHED:
        return []
    name = facts.get("published", facts.get("method", ""))
    return sensitivity(name, facts.get("dataset", ""), axis)


def legend(analysis: StudyAnalysis) -> list[str]:
    """What the published columns are."""
    return [
        f"{PUBLISHED} {n}: {c.name}, {c.network}: {c.source}{f' ({c.remark})' if c.remark else ''}"
        for n, c in enumerate(published(analysis), start=1)
    ]


def points(analysis: StudyAnalysis, chosen: Sequence[PointResults] | None = None) -> Rows:
    """A line per point, all by default: values, seeds, mean, spread, interval, published values.

    Means and differences are over the compared seeds, in shown units. The difference to the
    reference is paired over seeds, and its interval holds for one comparison alone.
    """
    curves = published(analysis)
    head = [*analysis.points.keys, "seeds", "n"]
    for key in analysis.study.objectives:
        head += [Metric(key).label, "std", "95 % low", "95 % high"]
    head += ["minus reference", "95 % low", "95 % high", "remark"]
    head += [f"{PUBLISHED} {number}" for number in range(1, len(curves) + 1)]
    return [head, *(_point(analysis, point, curves) for point in chosen or analysis.points.all)]


def _point(analysis: StudyAnalysis, point: PointResults, curves: Sequence[Curve]) -> list[str]:
    compared = analysis.points.is_compared(point)
    seeds = analysis.points.seeds if compared else sorted(point.trials)
    row = [shown_value(value) for value in point.params.values()]
    row += [" ".join(map(str, seeds)), str(len(seeds))]
    for key in analysis.study.objectives:
        mean, show = analysis.points.mean(point, key), Metric(key).show
        row += [show(value) for value in (mean.mean, mean.std, mean.low, mean.high)]
    reference = analysis.points.reference
    if reference is None or not compared or point is reference or len(seeds) < 2:
        row += ["-"] * 3
    else:
        change = analysis.against_reference(point, analysis.key)
        values = (change.mean, change.low, change.high)
        row += [analysis.objective.show(value, "+") for value in values]
    remarks = {
        "best": point is analysis.best and not analysis.is_flat,
        "reference": point is reference,
        "not compared": not compared,
    }
    row.append(", ".join(remark for remark, holds in remarks.items() if holds))
    for curve in curves:
        axis = analysis.points.axis
        assert axis is not None, "a published curve lies on the axis"
        found = [miou for value, miou in curve.points if equal(value, point.params[axis])]
        row.append(f"{found[0]:.2f}" if found else "-")
    return row


def trials(analysis: StudyAnalysis) -> Rows:
    """A line per trial, with every number of its result, shares in per cent like everywhere."""
    ordered = sorted(analysis.study.trials, key=lambda trial: trial.number)
    results = {key: None for t in ordered for key, v in t.result.items() if is_finite(v)}
    keys = [key for key in results if key not in analysis.study.objectives]
    named = [*analysis.study.objectives, *keys]
    head = ["trial", "state", "seed", *analysis.points.keys, *map(_heading, named)]
    return [[*head, "note", "folder"], *(_trial(analysis, trial, keys) for trial in ordered)]


def _heading(key: str) -> str:
    """A key of the result and its unit."""
    unit = Metric(key).unit
    return f"{key} [{unit}]" if unit else key


def _trial(analysis: StudyAnalysis, trial: Trial, keys: Sequence[str]) -> list[str]:
    row = [str(trial.number), trial.state, str(trial.seed)]
    row += [
        shown_value(trial.params[key]) if key in trial.params else ""
        for key in analysis.points.keys
    ]
    numbers = [analysis.value(trial, key) for key in (*analysis.study.objectives, *keys)]
    row += [f"{number:.6g}" if math.isfinite(number) else "" for number in numbers]
    return [*row, trial.note, below(trial.folder, analysis.study.folder)]


def front(analysis: StudyAnalysis) -> Rows:
    """The Pareto front by the first objective; the head alone with one objective."""
    keys = analysis.study.objectives
    head = ["point", *(Metric(key).label for key in keys)]
    points = analysis.front if len(keys) > 1 else ()
    rows = [
        [p.name, *(Metric(k).show(analysis.points.mean(p, k).mean) for k in keys)] for p in points
    ]
    return [head, *rows]


def left_out(analysis: StudyAnalysis) -> Rows:
    """Trials that failed, were pruned or gave no number, and why."""
    bad = [*analysis.not_finite, *(t for t in analysis.study.trials if t.state in LEFT_OUT)]
    rows = [
        [
            str(trial.number),
            "not finite" if trial.state == "complete" else trial.state,
            shown_point(trial.params),
            str(trial.seed),
            trial.note or (NOT_FINITE if trial.state == "complete" else ""),
        ]
        for trial in sorted(bad, key=lambda trial: trial.number)
    ]
    return [["trial", "state", "point", "seed", "why"], *rows]


def facts(analysis: StudyAnalysis) -> Rows:
    """The study's objectives, space and facts."""
    study = analysis.study
    goals = zip(study.directions, study.objectives, strict=True)
    return [
        ["fact", "value"],
        ["objective", ", ".join(" ".join(goal) for goal in goals)],
        *([f"space of {key}", values] for key, values in study.space.items()),
        ["reference", shown_point(study.reference)],
        ["seeds", " ".join(map(str, study.seeds))],
        ["robust range", f"within {shown_tolerance(analysis)} of the best"],
        *([name, value] for name, value in study.facts.items() if name != "command"),
    ]


def as_csv(rows: Rows) -> str:
    """Comma-separated, - left empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([["" if cell == "-" else csv_cell(cell) for cell in row] for row in rows])
    return text.getvalue()


def aligned(rows: Rows) -> list[str]:
    """Lines of text with columns of one width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def commands(analysis: StudyAnalysis) -> dict[str, str]:
    """The command lines of the best point and of the reference, each with the first seed."""
    best = None if analysis.is_flat else analysis.best
    points = {"Best point": best, "Reference": analysis.points.reference}
    return {
        name: command_of(analysis.study, point.params, analysis.points.seeds[0])
        for name, point in points.items()
        if point is not None
    }


def below(path: Path, folder: Path) -> str:
    """A path relative to the study's folder where it lies inside."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix()
