"""One table over runs that differ in seed: scores and cost of each stage."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from uda_hydra.engine.scores import MEAN, heading, subset_metrics
from uda_hydra.files import read_json, write_atomically, write_text
from uda_hydra.runs.identity import RECORD, record
from uda_hydra.runs.stages import Stage

Result = dict[str, Any]

SOURCE, ORACLE = "source", "oracle"
"""The stages between which a share of the gap is measured."""
GIVEN = ("method=", "init=", "dataset.oracle=")
"""Overrides of a stage that its name already implies."""
NAN = float("nan")
COST = {
    "steps": "steps",
    "seconds": "seconds",
    "peak_memory_gb": "peak memory GB",
    "seeds": "seeds",
}
"""Headings of the columns without a spread over the seeds."""
DIGITS = {"gap": 1, "steps": 0, "seconds": 0, "seeds": 0}
"""Decimals of a column where they are not two."""


class Kind(NamedTuple):
    """A row: the trainings that differ only in the seed."""

    name: str
    identity: dict[str, Any]
    """What decides its numbers, without what follows from the seed."""
    note: str


class Line(NamedTuple):
    """The numbers of one row by column, each as mean and spread (nan where there is none)."""

    name: str
    note: str
    values: dict[str, tuple[float, float]]


def kinds(stages: Sequence[Stage], lists: Mapping[str, Sequence[str]]) -> list[Kind]:
    """The rows for the stages of a run; ``lists`` are the command lines they come from."""
    return [
        Kind(
            stage.name,
            _seedless(record(stage.config, {})["config"]),
            ", ".join(o for o in lists[stage.name] if not o.startswith(GIVEN)),
        )
        for stage in stages
    ]


def _seedless(values: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a training as it is for every seed: without the seed and the first weights."""
    return {key: value for key, value in values.items() if key not in ("seed", "init")}


def write(folder: Path, rows: Sequence[Kind]) -> str:
    """Write ``table.md`` and ``table.csv`` over the finished trainings below ``folder``.

    Returns the table and where it is; as long as nothing is finished there is none ("").
    """
    found, left_out = _collect(folder, rows)
    if not found:
        return ""
    lines = [_line(row, found) for row in rows]
    columns = ["miou", *_subsets(found), "gap", *COST]
    columns = [name for name in columns if any(name in line.values for line in lines)]
    text = "\n".join([*_markdown(lines, columns), "", *_notes(found, left_out)]) + "\n"
    write_text(folder / "table.md", text)
    write_atomically(folder / "table.csv", lambda path: _csv(path, lines, columns))
    return f"{text}\ntable: {folder / 'table.md'}, {folder / 'table.csv'}\n"


def _collect(folder: Path, rows: Sequence[Kind]) -> tuple[dict[str, dict[str, Result]], list[str]]:
    """Results by run and row, and what was trained with another config than the row's."""
    found: dict[str, dict[str, Result]] = {}
    left_out = []
    for run in sorted(path for path in folder.glob("*/") if path.is_dir()):
        for row in rows:
            result = read_json(run / row.name / "result.json")
            if result is None:
                continue
            trained = read_json(run / row.name / RECORD) or {}
            if _seedless(trained.get("config", {})) == row.identity:
                found.setdefault(run.name, {})[row.name] = result
            else:
                left_out.append(f"{run.name}/{row.name}")
    return found, left_out


def _line(row: Kind, found: Mapping[str, Mapping[str, Result]]) -> Line:
    """The row's numbers over the runs that have finished it."""
    runs = [run for run in found.values() if row.name in run]
    results = [run[row.name] for run in runs]
    closed = [_closed(row.name, run) for run in runs if SOURCE in run and ORACLE in run]

    def of(key: str, scale: float | int = 1) -> list[float]:
        return [float(scale * result[key]) for result in results if result.get(key) is not None]

    values = {
        "miou": _spread(of(MEAN, 100)),
        **{metric: _spread(of(metric, 100)) for metric in _subsets(found)},
        "gap": _spread(closed),
        "steps": (_spread(of("steps"))[0], NAN),
        "seconds": (_spread(of("seconds"))[0], NAN),
        "peak_memory_gb": (max(of("peak_memory_gb"), default=NAN), NAN),
        "seeds": (float(len(results)), NAN),
    }
    return Line(row.name, row.note, values)


def _subsets(found: Mapping[str, Mapping[str, Result]]) -> list[str]:
    """Metrics of the label space's subsets that a result holds."""
    results = (result for run in found.values() for result in run.values())
    return [*dict.fromkeys(metric for result in results for metric in subset_metrics(result))]


def _closed(name: str, run: Mapping[str, Result]) -> float:
    """Share in percent of the way from source-only to oracle, of one run."""
    low, high, ours = (run[stage][MEAN] for stage in (SOURCE, ORACLE, name))
    return 100 * (ours - low) / (high - low) if high != low else NAN


def _spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation of a sample (divisor n - 1)."""
    if not values:
        return NAN, NAN
    return mean(values), stdev(values) if len(values) > 1 else NAN


def _markdown(lines: Sequence[Line], columns: Sequence[str]) -> list[str]:
    """The table with its columns aligned, so that it reads as well on a terminal."""
    cells = [["training", *(_heading(name) for name in columns), "note"]]
    cells += [[x.name, *(_cell(name, x.values) for name in columns), x.note] for x in lines]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    last = len(widths) - 1
    texts = [
        [cell.ljust(w) if i in (0, last) else cell.rjust(w) for i, (cell, w) in enumerate(row)]
        for row in ([*zip(row, widths, strict=True)] for row in cells)
    ]
    rule = ["-" * w if i in (0, last) else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    return [f"| {' | '.join(row)} |" for row in (texts[0], rule, *texts[1:])]


def _heading(column: str) -> str:
    if column == "gap":
        return "gap closed %"
    return COST.get(column) or f"{heading(column)} %"


def _cell(name: str, values: Mapping[str, tuple[float, float]]) -> str:
    """``mean ± spread``, the mean alone, or a dash."""
    value, spread = values.get(name, (NAN, NAN))
    if math.isnan(value):
        return "-"
    digits = DIGITS.get(name, 2)
    return f"{value:.{digits}f}" + ("" if math.isnan(spread) else f" ± {spread:.{digits}f}")


def _notes(found: Mapping[str, Mapping[str, Result]], left_out: Sequence[str]) -> list[str]:
    """What the numbers mean, and what they do not."""
    results = [result for run in found.values() for result in run.values()]

    def named(key: str) -> str:
        return ", ".join(sorted({str(result[key]) for result in results})) or "none yet"

    lines = [
        f"Data {named('dataset')}; seeds {named('seed')}; commit {named('git commit')}.",
        "mIoU is that of the last checkpoint (miou/last), on the target's validation images: "
        "mean ± standard deviation of the sample.",
        f"{ORACLE} is trained on target labels: an upper bound and not an adaptation. "
        f"Gap closed is the share of the way from {SOURCE} to {ORACLE}, seed by seed.",
        f"Steps, seconds and memory are those of the row alone, without those of {SOURCE} where it "
        "starts from there.",
    ]
    if left_out:
        lines.append(f"Left out, trained with another config: {', '.join(left_out)}.")
    return [f"- {line}" for line in lines]


def _csv(path: Path, lines: Sequence[Line], columns: Sequence[str]) -> None:
    """Mean and spread as columns of their own; empty where there is none."""
    cells = [(name, part) for name in columns for part in range(1 if name in COST else 2)]
    header = [name + ("_spread" if part else "") for name, part in cells]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["training", *header, "note"])
        for line in lines:
            numbers = [line.values.get(name, (NAN, NAN))[part] for name, part in cells]
            plain = ["" if math.isnan(number) else f"{number:.9g}" for number in numbers]
            writer.writerow([line.name, *plain, line.note])
