"""Keeps the files of a table up to date, however far its trainings come."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from uda_hydra.errors import Stopped
from uda_hydra.runs.stages import Stage
from uda_hydra.table import selection, write
from uda_hydra.table.analyse import TableAnalysis
from uda_hydra.table.rows import collect, kinds

log = logging.getLogger(__name__)


@contextmanager
def kept(
    folder: Path,
    stages: Sequence[Stage],
    *,
    lists: Mapping[str, Sequence[str]],
    controls: Sequence[str],
    skipped: Mapping[str, str],
) -> Iterator[None]:
    """Write and print the table of all finished trainings when the block is left.

    ``stages`` are those of one run in ``folder``, ``lists`` their command lines, ``controls`` the
    names of the rows that the others are compared with, ``skipped`` the reasons of rows that cannot
    be trained, by name. Nothing is written as long as nothing has finished; after an interruption
    the pictures are left as they are.
    """
    interrupted = False
    try:
        yield
    except (Stopped, KeyboardInterrupt):
        interrupted = True
        raise
    finally:
        rows, left_out = collect(folder, kinds(stages, lists))
        analysis = TableAnalysis(rows, controls)
        if analysis.results:
            print(write.write(folder, analysis, left_out, skipped))
            print(selection.write(folder, analysis))
            if not interrupted:
                _draw(folder, stages, analysis)
            print(f"table: {folder} (table.md and .csv, trainings.csv, selection, curves)")


def _draw(folder: Path, stages: Sequence[Stage], analysis: TableAnalysis) -> None:
    """The curves of the table, and the sheet of this run; what cannot be drawn costs a warning."""
    # Late: figures take seconds to import.
    from uda_hydra.table import curves, sheet

    done = {training.folder for row in analysis.rows for training in row.trainings.values()}
    finished = [stage for stage in stages if stage.folder in done]
    path = stages[0].folder.parent / "sheet.png"
    for what, draw in (
        ("the curves", lambda: curves.write(folder, analysis)),
        ("the sheet", lambda: sheet.write_sheet(path, finished)),
    ):
        try:
            draw()
        except Stopped:
            raise
        # The table is written: whatever matplotlib or the device make of it costs a picture.
        except Exception as error:
            log.debug("%s", what, exc_info=True)
            log.warning("%s could not be drawn: %s", what, error)
