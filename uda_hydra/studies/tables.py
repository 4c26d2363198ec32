"""The tables of a report: all points, and all trials."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

from uda_hydra.files import is_number
from uda_hydra.published import Curve, sensitivity
from uda_hydra.studies.answer import Answer
from uda_hydra.studies.points import Point, equal
from uda_hydra.studies.quantities import Quantity, written
from uda_hydra.studies.records import Trial

Rows = list[list[str]]
"""The first row is the head."""
PUBLISHED = "published"


def published(answer: Answer) -> list[Curve]:
    """Published curves for the method (or ``published=``) and data set; none in other units."""
    axis, facts = answer.points.axis, answer.study.facts
    if axis is None or not answer.key.startswith("miou"):
        return []
    name = facts.get("published", facts.get("method", ""))
    return sensitivity(name, facts.get("dataset", ""), axis)


def legend(answer: Answer) -> list[str]:
    """What the published columns are."""
    return [
        f"{PUBLISHED} {n}: {c.name}, {c.network}: {c.source}{f' ({c.remark})' if c.remark else ''}"
        for n, c in enumerate(published(answer), start=1)
    ]


def points(answer: Answer, chosen: Sequence[Point] | None = None) -> Rows:
    """A line per point, all by default: values, seeds, mean, spread, interval, published values.

    Means and differences are over the compared seeds, in shown units; the difference to the
    paper's point is paired over seeds and its interval stands for one comparison alone; one seed
    makes no difference.
    """
    curves = published(answer)
    head = [*answer.points.keys, "seeds", "n"]
    for key in answer.study.objectives:
        head += [Quantity(key).label, "std", "95 % low", "95 % high"]
    head += ["minus reference", "95 % low", "95 % high", "remark"]
    head += [f"{PUBLISHED} {number}" for number in range(1, len(curves) + 1)]
    return [head, *(_point(answer, point, curves) for point in chosen or answer.points.all)]


def _point(answer: Answer, point: Point, curves: Sequence[Curve]) -> list[str]:
    compared = point in answer.points.compared
    seeds = answer.points.seeds if compared else sorted(point.trials)
    row = [written(value) for value in point.params.values()]
    row += [" ".join(map(str, seeds)), str(len(seeds))]
    for key in answer.study.objectives:
        mean, show = answer.points.mean(point, key), Quantity(key).show
        row += [show(value) for value in (mean.mean, mean.std, mean.low, mean.high)]
    reference = answer.points.reference
    if reference is None or not compared or point is reference or len(seeds) < 2:
        row += ["-"] * 3
    else:
        change = answer.against_reference(point, answer.key)
        values = (change.mean, change.low, change.high)
        row += [answer.objective.show(value, "+") for value in values]
    remarks = {
        "best": point is answer.best,
        "reference": point is reference,
        "not compared": not compared,
    }
    row.append(", ".join(remark for remark, holds in remarks.items() if holds))
    for curve in curves:
        axis = answer.points.axis
        assert axis is not None, "a published curve lies on the axis"
        found = [miou for value, miou in curve.points if equal(value, point.params[axis])]
        row.append(f"{found[0]:.2f}" if found else "-")
    return row


def trials(answer: Answer) -> Rows:
    """A line per trial, with every number of its result as it is stored (shares in 0..1)."""
    ordered = sorted(answer.study.trials, key=lambda trial: trial.number)
    results = {key: None for t in ordered for key, v in t.result.items() if _is_number(v)}
    keys = [key for key in results if key not in answer.study.objectives]
    head = ["trial", "state", "seed", *answer.points.keys, *answer.study.objectives, *keys]
    return [[*head, "note", "folder"], *(_trial(answer, trial, keys) for trial in ordered)]


def _trial(answer: Answer, trial: Trial, keys: Sequence[str]) -> list[str]:
    row = [str(trial.number), trial.state, str(trial.seed)]
    row += [written(trial.params[key]) if key in trial.params else "" for key in answer.points.keys]
    row += [f"{value:.6g}" for value in trial.values]
    row += [""] * (len(answer.study.objectives) - len(trial.values))
    numbers = (trial.result.get(key) for key in keys)
    row += [f"{number:.6g}" if _is_number(number) else "" for number in numbers]
    return [*row, trial.note, _below(trial.folder, answer.study.folder)]


def as_csv(rows: Rows) -> str:
    """Comma-separated, - left empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([["" if cell == "-" else cell for cell in row] for row in rows])
    return text.getvalue()


def aligned(rows: Rows) -> list[str]:
    """Lines of text with columns of one width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _is_number(value: object) -> bool:
    number = is_number(value)
    return number and math.isfinite(float(value))


def _below(path: Path, folder: Path) -> str:
    """Relative to the study where it lies in it."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix()
