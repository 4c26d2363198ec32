"""Writes the report of a study: page, figures and tables in a folder, text for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import get_terminal_size
from textwrap import shorten, wrap

from uda_hydra.files import printable, remove_leftovers, write_atomically, write_text
from uda_hydra.studies.keys import short_names
from uda_hydra.studies.records import Study, Value
from uda_hydra.studies.report import summary, tables
from uda_hydra.studies.report.analyse import WITHIN, StudyAnalysis
from uda_hydra.studies.report.html import INTERACTIVE, report_page
from uda_hydra.studies.report.selection import choices

WIDTH = 110
"""Most columns of a text, and those of a pipe."""
MOST_LINES, FEW_POINTS, SHOWN_POINTS, SHOWN_FAULTS = 39, 14, 8, 3
"""On the terminal; the files hold all."""


@dataclass(frozen=True)
class StudyReport:
    """The files of a report, and its result in short."""

    page: Path
    figures: tuple[Path, ...]
    tables: tuple[Path, ...]
    text: str
    """The summary for the terminal."""
    best: dict[str, Value]
    """Swept values of the best point; empty where the keys had no effect and without a trial."""
    best_mean: float | None
    """Its mean, as stored (mIoU in 0..1)."""
    robust_range: str
    """The robust ranges as sentences; empty where ``best`` is."""


def write(study: Study, folder: Path | None = None, tolerance: float = WITHIN) -> StudyReport:
    """Write ``report.html``, its figures, ``points.csv``, ``trials.csv``, ``interactive.html``.

    They go to ``folder``, the study's ``report/`` by default, and replace the report that lies
    there, figures that are no longer drawn included. Any state of a study will do. ``tolerance``
    is the width of the robust range: points where the objective is a share like mIoU, else
    percent of the best mean.
    """
    # Late: figures take seconds to import, and the summary needs none.
    from uda_hydra.studies.report.figures import draw_all
    from uda_hydra.studies.report.interactive import interactive_page

    analysis = StudyAnalysis(study, tolerance)
    folder = folder or study.folder / "report"
    folder.mkdir(parents=True, exist_ok=True)
    if all(trial.state != "running" for trial in study.trials):
        # Nobody else is about to write a report.
        remove_leftovers(folder)
    drawn, failures = draw_all(analysis)
    figures = tuple(_write(folder / f"{one.name}.png", one.png) for one in drawn)
    vectors = [_write(folder / f"{one.name}.pdf", one.pdf) for one in drawn]
    for stale in {*folder.glob("*.png"), *folder.glob("*.pdf")} - {*figures, *vectors}:
        stale.unlink(missing_ok=True)
    if drawn:
        write_text(folder / INTERACTIVE, interactive_page(analysis))
    sheets = {"points.csv": tables.points(analysis), "trials.csv": tables.trials(analysis)}
    files = [folder / name for name in sheets]
    for file in files:
        write_text(file, tables.as_csv(sheets[file.name]))
    page = folder / "report.html"
    write_text(page, report_page(analysis, drawn, failures, folder=folder))
    best = analysis.best
    return StudyReport(
        page,
        figures,
        tuple(files),
        printable("\n".join([_text(analysis), *failures])),
        dict(best.params) if best and not analysis.is_flat else {},
        analysis.mean(best).mean / analysis.objective.scale if best else None,
        " ".join(map(str, summary.find_ranges(analysis))),
    )


def text(study: Study, tolerance: float = WITHIN) -> str:
    """The summary for the terminal, in fewer than 40 lines."""
    return _text(StudyAnalysis(study, tolerance))


def _text(analysis: StudyAnalysis) -> str:
    study = analysis.study
    goals = zip(study.directions, study.objectives, strict=True)
    head = [
        f"study {study.name}",
        *study.question.splitlines()[:2],
        f"objective: {', '.join(' '.join(goal) for goal in goals)}",
        summary.describe_progress(analysis),
    ]
    rows, faults = _points(analysis), _faults(analysis)
    faults += [f"{name}: {line}" for name, line in tables.commands(analysis).items()]
    chosen = summary.find_choices(analysis, choices(analysis))
    sentences = [*map(str, [*summary.find_all(analysis), *chosen])]
    sentences += tables.legend(analysis) if analysis.best else []
    room = MOST_LINES - len(head) - len(rows) - len(faults)
    return printable("\n".join([*head, *rows, *_wrapped(sentences, room), *faults]))


def _points(analysis: StudyAnalysis) -> list[str]:
    """The table of a few points; of many, the best ones."""
    points = analysis.points.all
    if not points:
        return []
    if len(points) <= FEW_POINTS:
        return tables.aligned(_short(tables.points(analysis)))
    ranked = sorted(analysis.points.compared, key=lambda p: -analysis.sign * analysis.mean(p).mean)
    best = tables.aligned(_short(tables.points(analysis, ranked[:SHOWN_POINTS])))
    return [*best, f"the best {len(best) - 1} of {len(points)} points; all are in points.csv"]


def _short(rows: tables.Rows) -> tables.Rows:
    """The table as 80 columns hold it: without seeds and intervals of means, with short names."""
    names = short_names(rows[0])
    head = [names[name] for name in rows[0]]
    low = head.index("minus reference") + 1
    kept = [c for c, name in enumerate(head) if name != "seeds" and not name.startswith("95 %")]
    kept.insert(kept.index(low - 1) + 1, low)  # of the difference the interval, as one column
    intervals = [f"[{row[low]}, {row[low + 1]}]" if row[low] != "-" else "-" for row in rows[1:]]
    both = zip([head, *rows[1:]], ["95 % CI", *intervals], strict=True)
    return [[interval if c == low else row[c] for c in kept] for row, interval in both]


def _wrapped(sentences: Sequence[str], most: int) -> list[str]:
    """Lines of a terminal's width; the last one says where the rest is."""
    lines = [line for s in sentences for line in wrap(s, _width(), subsequent_indent="  ")]
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], "... the rest is in report.html"]


def _faults(analysis: StudyAnalysis) -> list[str]:
    """Trials that are missing, and why; all of them are in the page."""
    lines = [
        shorten(f"{state}: trial {number} ({point}, seed {seed}): {why}", _width())
        for number, state, point, seed, why in tables.left_out(analysis)[1:]
        if state != "pruned"
    ]
    left = len(lines) - SHOWN_FAULTS
    return [*lines[:SHOWN_FAULTS], *([f"... and {left} more in report.html"] if left > 0 else [])]


def _width() -> int:
    return min(WIDTH, get_terminal_size((WIDTH, 24)).columns)


def _write(path: Path, content: bytes) -> Path:
    write_atomically(path, lambda temporary: temporary.write_bytes(content))
    return path
