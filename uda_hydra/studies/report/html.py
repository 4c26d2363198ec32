"""The report as one page of HTML that needs no other file: figures inside, no script."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape as escape_markup
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from uda_hydra.files import printable, quoted
from uda_hydra.studies.records import Trial
from uda_hydra.studies.report import tables
from uda_hydra.studies.report.analyse import StudyAnalysis
from uda_hydra.studies.report.selection import choices
from uda_hydra.studies.report.summary import describe_progress, find_all, find_choices
from uda_hydra.studies.report.trainings import run_of

FEW = 40
"""Tables of more points are folded."""
INTERACTIVE = "interactive.html"
"""A page of its own, because it holds 5 MB of plotly."""
OF_KEYS = ("importance", "slices", "pairs", "parallel")

STYLE = """
:root { color-scheme: light dark; --ink: #24292f; --faint: #59636e; --paper: #ffffff;
  --line: #d1d9e0; --shade: #f6f8fa; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --faint: #9198a1;
  --paper: #0d1117; --line: #3d444d; --shade: #161b22; } }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem; color: var(--ink);
  background: var(--paper); font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin-top: 2rem; }
p.lead { color: var(--faint); white-space: pre-line; }
figure { margin: 1rem 0; } figcaption { color: var(--faint); font-size: .9rem; }
img { max-width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: 6px; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; font-variant-numeric: tabular-nums; vertical-align: top; }
th { background: var(--shade); } th:first-child, td:first-child { text-align: left; }
table.words th, table.words td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
table.words td:first-child { white-space: nowrap; } a { color: inherit; }
pre { background: var(--shade); border: 1px solid var(--line); border-radius: 6px;
  padding: .6rem; white-space: pre-wrap; overflow-wrap: anywhere; }
"""


def escape(text: str) -> str:
    """Text for a page: no markup, and no control characters."""
    return escape_markup(printable(text))


@dataclass(frozen=True)
class Picture:
    """A figure as a file."""

    name: str
    """Name of its files, without their ending."""
    png: bytes
    pdf: bytes
    alt: str
    """A description for readers who cannot see it."""
    caption: str

    def html(self) -> str:
        """An HTML figure with the image inside."""
        data = base64.b64encode(self.png).decode("ascii")
        return (
            f'<figure><img alt="{escape(self.alt)}" src="data:image/png;base64,{data}">'
            f'<figcaption>{escape(self.caption)} <a href="{self.name}.pdf">PDF</a></figcaption>'
            "</figure>"
        )


def page(title: str, lead: str, sections: Sequence[tuple[str, str]]) -> str:
    """A document of sections: heading and HTML each; empty ones are left out."""
    body = "\n".join(f"<section><h2>{escape(h)}</h2>\n{b}</section>" for h, b in sections if b)
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f'<body><h1>{escape(title)}</h1>\n<p class="lead">{escape(lead)}</p>\n{body}\n'
        "</body></html>\n"
    )


def items(lines: Sequence[str]) -> str:
    """A list of sentences; nothing for none."""
    if not lines:
        return ""
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


class Link(NamedTuple):
    """Text that leads to a file or a page."""

    text: str
    address: str


def table(rows: Sequence[Sequence[str | Link]], *, kind: str = "numbers") -> str:
    """A table under its first row; nothing for a head alone.

    ``kind`` is numbers, to the right on one line, or words, to the left and wrapped.
    """
    if len(rows) < 2:
        return ""
    head = "".join(f'<th scope="col">{_cell(cell)}</th>' for cell in rows[0])
    body = "\n".join(
        "<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:]
    )
    return (
        f'<div class="wide" tabindex="0"><table class="{kind}"><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cell(cell: str | Link) -> str:
    if isinstance(cell, Link):
        return f'<a href="{escape(cell.address)}">{escape(cell.text)}</a>'
    return escape(cell)


def folded(name: str, html: str) -> str:
    """Content that opens on a click; nothing where there is none."""
    return f"<details><summary>{escape(name)}</summary>{html}</details>" if html else ""


def code(text: str) -> str:
    """A command line."""
    return f"<pre>{escape(text)}</pre>"


def report_page(
    analysis: StudyAnalysis,
    pictures: Sequence[Picture],
    failures: Sequence[str] = (),
    *,
    folder: Path,
) -> str:
    """The whole report as one file in ``folder``; ``failures``: figures that were not drawn."""
    study = analysis.study

    def drawn(*names: str) -> str:
        return "".join(p.html() for p in pictures if p.name.startswith(names))

    points = table(tables.points(analysis))
    if len(analysis.points.all) > FEW:
        points = folded(f"{len(analysis.points.all)} points", points)
    chosen = find_choices(analysis, choices(analysis))
    all_trials = folded(f"{len(study.trials)} trials", table(_linked_trials(analysis, folder)))
    return page(
        study.name,
        f"{study.question}\n{describe_progress(analysis)}",
        [
            ("Answer", items([*map(str, find_all(analysis)), *failures])),
            ("Response", drawn("response")),
            ("Interactive", _cell(Link(INTERACTIVE, INTERACTIVE)) if pictures else ""),
            ("All swept keys", drawn(*OF_KEYS)),
            ("Points", points + items(tables.legend(analysis))),
            ("Pareto front", drawn("pareto") + table(tables.front(analysis))),
            ("Classes", drawn("classes")),
            ("Learning curves", drawn("learning")),
            ("Without target labels", items([*map(str, chosen)]) + drawn("label_free")),
            ("Trials left out", table(tables.left_out(analysis), kind="words")),
            ("All trials", all_trials),
            ("Commands", _commands(analysis)),
            ("Facts", table(tables.facts(analysis), kind="words")),
        ],
    )


def _linked_trials(analysis: StudyAnalysis, folder: Path) -> list[list[str | Link]]:
    """The table of trials: numbers lead to runs in MLflow, folders to files."""
    head, *rows = tables.trials(analysis)
    ordered = sorted(analysis.study.trials, key=lambda trial: trial.number)
    return [
        [*head],
        *(
            [_run(trial, row[0]), *row[1:-1], Link(row[-1], _way(folder, trial.folder))]
            for trial, row in zip(ordered, rows, strict=True)
        ),
    ]


def _run(trial: Trial, text: str) -> str | Link:
    address = run_of(trial)
    return Link(text, address) if address else text


def _way(start: Path, end: Path) -> str:
    """The relative address of a folder."""
    return quote(Path(os.path.relpath(end, start)).as_posix())


def _commands(analysis: StudyAnalysis) -> str:
    """The command lines of the study, of the best point and the reference, and of a copy."""
    named = {f"{name}, one seed": line for name, line in tables.commands(analysis).items()}
    copy = f"python launch.py task=export_study {quoted(f'output={analysis.study.folder}')}"
    lines = {"The study": analysis.study.command} | named
    lines["A copy for today's Optuna and optuna-dashboard"] = copy
    return "".join(f"<p>{escape(name)}:</p>{code(line)}" for name, line in lines.items())
