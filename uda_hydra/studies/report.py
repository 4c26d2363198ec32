"""The report of a study: a page, figures and tables in a folder, and a summary for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten, wrap

from uda_hydra.files import write_atomically
from uda_hydra.studies import tables, words
from uda_hydra.studies.answer import WITHIN, Answer
from uda_hydra.studies.records import Study, Value
from uda_hydra.studies.sections import document, free, left_out

WIDTH = 110
"""Of the terminal."""
MOST_LINES, FEW_POINTS, SHOWN_POINTS, SHOWN_FAULTS = 39, 14, 8, 3
"""On the terminal; the files hold all."""


@dataclass(frozen=True)
class Report:
    """What was written, and the answer in short."""

    page: Path
    figures: tuple[Path, ...]
    tables: tuple[Path, ...]
    text: str
    """For the terminal."""
    best: dict[str, Value]
    """Swept values of the best point; empty before the first complete trial."""
    best_mean: float | None
    """Its mean, as stored (mIoU in 0..1)."""
    robust_range: str
    """In words; empty before the first complete trial."""


def write(study: Study, folder: Path | None = None, tolerance: float = WITHIN) -> Report:
    """Write ``report.html``, its figures as PNG, ``points.csv`` and ``trials.csv``.

    They go to ``folder``, the study's ``report/`` by default, and replace the report that lies
    there, figures that are no longer drawn included. Any state of a study will do. ``tolerance``
    is the width of the robust range: points where the objective is a share like mIoU, else
    percent of the best mean.
    """
    # Late: figures take seconds to import, and the summary needs none.
    from uda_hydra.studies.gallery import pictures

    answer = Answer(study, tolerance)
    folder = folder or study.folder / "report"
    folder.mkdir(parents=True, exist_ok=True)
    drawn = pictures(answer)
    figures = tuple(_write(folder / f"{one.name}.png", one.png) for one in drawn)
    for stale in {*folder.glob("*.png")} - {*figures}:
        stale.unlink(missing_ok=True)
    sheets = {"points.csv": tables.points(answer), "trials.csv": tables.trials(answer)}
    files = [_write(folder / n, tables.as_csv(rows).encode()) for n, rows in sheets.items()]
    page = _write(folder / "report.html", document(answer, drawn).encode())
    best = answer.best
    return Report(
        page,
        figures,
        tuple(files),
        _text(answer),
        dict(best.params) if best else {},
        answer.mean(best).mean / answer.objective.scale if best else None,
        " ".join(words.robust_ranges(answer)),
    )


def text(study: Study, tolerance: float = WITHIN) -> str:
    """The answer in fewer than 40 lines."""
    return _text(Answer(study, tolerance))


def _text(answer: Answer) -> str:
    study = answer.study
    goals = zip(study.directions, study.objectives, strict=True)
    head = [
        f"study {study.name}",
        *study.question.splitlines()[:2],
        f"objective: {', '.join(' '.join(goal) for goal in goals)}",
        words.progress(answer),
    ]
    rows, faults = _points(answer), _faults(answer)
    told = [*words.statements(answer), *free(answer)]
    told += tables.legend(answer) if answer.best else []
    room = MOST_LINES - len(head) - len(rows) - len(faults)
    return "\n".join([*head, *rows, *_wrapped(told, room), *faults])


def _points(answer: Answer) -> list[str]:
    """The table of a few points; of many, the best ones."""
    points = answer.points.all
    if not points:
        return []
    if len(points) <= FEW_POINTS:
        return tables.aligned(_short(tables.points(answer)))
    ranked = sorted(answer.points.compared, key=lambda p: -answer.sign * answer.mean(p).mean)
    best = tables.aligned(_short(tables.points(answer, ranked[:SHOWN_POINTS])))
    return [*best, f"the best {len(best) - 1} of {len(points)} points; all are in points.csv"]


def _short(rows: tables.Rows) -> tables.Rows:
    """Without the columns that only a file has room for: seeds, and intervals of the means."""
    head = rows[0]
    change = head.index("minus reference")
    wide = [c for c, name in enumerate(head) if name.startswith("95 %") and c < change]
    return [[r[c] for c in range(len(head)) if c not in (*wide, head.index("seeds"))] for r in rows]


def _wrapped(sentences: Sequence[str], most: int) -> list[str]:
    """Lines of a terminal's width, cut off with a word about it."""
    lines = [line for s in sentences for line in wrap(s, WIDTH, subsequent_indent="  ")]
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], "... the rest is in report.html"]


def _faults(answer: Answer) -> list[str]:
    """Trials that are missing, and why; all of them are in the page."""
    lines = [
        shorten(f"{state}: trial {number} ({point}, seed {seed}): {why}", WIDTH)
        for number, state, point, seed, why in left_out(answer)[1:]
        if state != "pruned"
    ]
    left = len(lines) - SHOWN_FAULTS
    return [*lines[:SHOWN_FAULTS], *([f"... and {left} more in report.html"] if left > 0 else [])]


def _write(path: Path, content: bytes) -> Path:
    write_atomically(path, lambda temporary: temporary.write_bytes(content))
    return path
