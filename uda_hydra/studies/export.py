"""Writes a copy of a study for other programs: today's Optuna, and ``optuna-dashboard``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.storages import RDBStorage

from uda_hydra.files import write_atomically
from uda_hydra.studies import optuna2, storage
from uda_hydra.studies.load import load_study

FILE = "export.db"


def export_study(folder: Path, url: str | None) -> Path:
    """Write the study of ``folder`` as it is into ``export.db`` there; returns that file.

    ``url`` is ``hydra.sweeper.storage``. The study itself stays as it is, with the Optuna that runs
    it; of a database that holds several studies, the copy has this one alone.
    """
    load_study(folder, url)
    source = storage.url_of(folder, url)

    def write(path: Path) -> None:
        path.unlink(missing_ok=True)
        with _opened(source) as study, _opened(f"sqlite:///{path.absolute()}") as copy:
            optuna.copy_study(from_study_name=folder.name, from_storage=study, to_storage=copy)
        optuna2.modernize(path)

    write_atomically(folder / FILE, write)
    return folder / FILE


@contextmanager
def _opened(url: str) -> Iterator[RDBStorage]:
    """A database that is closed afterwards, whatever happens."""
    database = storage.open_database(url)
    try:
        with storage.readable(url):
            yield database
    finally:
        database.remove_session()
        database.engine.dispose()


def show_export(folder: Path, url: str | None) -> None:
    """Export the study of ``folder`` and print how the copy is opened."""
    file = export_study(folder, url)
    print(f"{file}: a copy of the study for Optuna 3.2 and later")
    print(f"open it with: pip install optuna-dashboard; optuna-dashboard sqlite:///{file}")
