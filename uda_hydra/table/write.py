"""Writes a table into its folder: Markdown to be read, CSV with everything."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from uda_hydra.engine.scores import MEAN, heading
from uda_hydra.files import printable, write_text
from uda_hydra.studies.report.statistics import Estimate
from uda_hydra.studies.report.tables import Rows, as_csv
from uda_hydra.table.analyse import ORACLE, SOURCE, TableAnalysis
from uda_hydra.table.rows import Row

DASH = "-"
COST = ("steps", "seconds", "peak_memory_gb")


def write(
    folder: Path, analysis: TableAnalysis, left_out: Sequence[str], skipped: Mapping[str, str]
) -> str:
    """Write ``table.md``, ``table.csv`` and, seed by seed, ``trainings.csv``; returns the first.

    It names the trainings that are ``left_out``, and why rows are ``skipped``.
    """
    lines = [*_markdown(_cells(analysis)), "", *_notes(analysis, left_out)]
    lines += [printable(f"- Skipped: {name}. {reason}") for name, reason in skipped.items()]
    text = "\n".join(lines) + "\n"
    write_text(folder / "table.md", text)
    write_text(folder / "table.csv", as_csv(_numbers(analysis)))
    write_text(folder / "trainings.csv", as_csv(_trainings(analysis)))
    return text


def _cells(analysis: TableAnalysis) -> Rows:
    """The short table: a line per row of it, the first one the head."""
    control = analysis.best_control
    head = ["training", "mIoU %", *(f"{heading(metric)} %" for metric in analysis.subsets)]
    head += ["gap closed %", f"minus {control.name} [95 %]" if control else "minus control"]
    return [[*head, "steps", "minutes", "seeds"], *(_line(analysis, r) for r in analysis.rows)]


def _line(analysis: TableAnalysis, row: Row) -> list[str]:
    means = [analysis.mean(row, key) for key in (MEAN, *analysis.subsets)]
    steps, seconds = (analysis.mean(row, key).mean for key in ("steps", "seconds"))
    return [
        row.name,
        *(_spread(mean, 2) for mean in means),
        _spread(analysis.gap_closed(row), 1),
        _interval(analysis.gain(row), seeds=len(row.trainings)),
        _shown(steps, ".0f"),
        _shown(seconds / 60, ".1f"),
        str(len(row.trainings)),
    ]


def _spread(found: Estimate, digits: int) -> str:
    """``mean ± standard deviation``, the mean alone, or a dash."""
    mean = _shown(found.mean, f".{digits}f")
    return mean if math.isnan(found.std) else f"{mean} ± {found.std:.{digits}f}"


def _interval(found: Estimate | None, *, seeds: int) -> str:
    """``difference [low, high]``, the difference alone, or a dash; its n where it is not all."""
    if found is None or not found.n:
        return DASH
    some = f" (n = {found.n})" if found.n < seeds else ""
    ends = f" [{found.low:+.2f}, {found.high:+.2f}]" if found.n > 1 else ""
    return f"{found.mean:+.2f}{ends}{some}"


def _shown(number: float, form: str) -> str:
    return format(number, form) if math.isfinite(number) else DASH


def _markdown(cells: Rows) -> list[str]:
    """The table with its columns aligned, so that it reads as well on a terminal."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    texts = [
        [cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(row)]
        for row in ([*zip(row, widths, strict=True)] for row in cells)
    ]
    rule = ["-" * (w - 1) + ":" if i else "-" * w for i, w in enumerate(widths)]
    return [f"| {' | '.join(row)} |" for row in (texts[0], rule, *texts[1:])]


def _notes(analysis: TableAnalysis, left_out: Sequence[str]) -> list[str]:
    """What the numbers mean, and what they do not."""
    lines = [
        *_verdict(analysis),
        "mIoU: last checkpoint, target's validation images, mean ± standard deviation over seeds.",
        f"{ORACLE} is trained on target labels: an upper bound and not an adaptation. Gap closed: "
        f"share of the way from {SOURCE} to {ORACLE}, seed by seed.",
        f"Steps and minutes are those of the row alone, without those of {SOURCE}.",
        *(f"{row.name}: {row.note}." for row in analysis.rows if row.note),
        f"Data {_named(analysis, 'dataset')}; seeds {_seeds(analysis)}; "
        f"commit {_named(analysis, 'git commit')}.",
    ]
    if left_out:
        names = ", ".join(left_out)
        lines.append(f"Left out, trained with another config or from such a training: {names}.")
    return [printable(f"- {line}") for line in lines]


def _verdict(analysis: TableAnalysis) -> list[str]:
    """Which adaptations differ from the best control."""
    control = analysis.best_control
    if control is None:
        return []
    means = [f"{c.name} {analysis.shared_mean(c):.2f}" for c in analysis.controls_present]
    seeds = ", ".join(map(str, analysis.shared_seeds))
    chosen = f"Best control over seeds {seeds}: {control.name} ({', '.join(means)})."
    groups: dict[str, list[str]] = {"more": [], "less": [], "not distinguishable": []}
    for row in analysis.adaptations:
        gain = analysis.gain(row)
        if gain is None or not gain.n:
            continue
        better = "more" if gain.mean > 0 else "less"
        groups[better if gain.differs else "not distinguishable"].append(row.name)
    found = "; ".join(f"{name}: {', '.join(rows) or 'none'}" for name, rows in groups.items())
    return [
        f"{chosen} Differences to it are paired over equal seeds, with Student's 95 % interval of "
        "each alone.",
        f"Against {control.name}, {found}.",
    ]


def _named(analysis: TableAnalysis, key: str) -> str:
    return ", ".join(sorted({str(result.get(key)) for result in analysis.results}))


def _seeds(analysis: TableAnalysis) -> str:
    return ", ".join(map(str, sorted({seed for row in analysis.rows for seed in row.trainings})))


def _keys(analysis: TableAnalysis) -> dict[str, str]:
    """The scores of the CSVs by their keys in a result, with the names of their columns."""
    return {MEAN: "miou"} | {key: key for key in (*analysis.subsets, *analysis.classes)}


def _numbers(analysis: TableAnalysis) -> Rows:
    """All numbers: for the CSV, where what is not known is empty."""
    keys = _keys(analysis)
    spreads = [name + part for name in ("gap_closed", *keys.values()) for part in ("", "_spread")]
    parts = ("", "_low", "_high", "_n")
    gain = ["control", *(f"minus_control{part}" for part in parts)]
    rows = [["training", *spreads, *gain, *COST, "seeds", "note"]]
    control = analysis.best_control
    for row in analysis.rows:
        means = [analysis.gap_closed(row), *(analysis.mean(row, key) for key in keys)]
        gained = analysis.gain(row)
        numbers = [part for one in means for part in (one.mean, one.std)]
        ends = [math.nan] * 4
        if gained is not None:
            ends = [gained.mean, gained.low, gained.high, float(gained.n)]
        cost = [analysis.mean(row, key).mean for key in COST]
        rows.append(
            [
                row.name,
                *(_shown(number, ".9g") for number in numbers),
                control.name if control else DASH,
                *(_shown(number, ".9g") for number in (*ends, *cost)),
                str(len(row.trainings)),
                row.note,
            ]
        )
    return rows


def _trainings(analysis: TableAnalysis) -> Rows:
    """The scores of every training in percent, and its cost, for statistics of one's own."""
    keys = _keys(analysis)
    rows = [["training", "seed", *keys.values(), *COST, "git commit"]]
    for row in analysis.rows:
        found = [row.scores(key) for key in (*keys, *COST)]
        for seed, training in sorted(row.trainings.items()):
            numbers = [_shown(scores.get(seed, math.nan), ".9g") for scores in found]
            rows.append([row.name, str(seed), *numbers, str(training.result.get("git commit"))])
    return rows
