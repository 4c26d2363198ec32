"""The database of a study, and the lock under which several processes change it."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from uda_hydra.errors import UserError, first_line
from uda_hydra.files import locked, mask
from uda_hydra.studies.optuna2 import repair

log = logging.getLogger(__name__)
Result = TypeVar("Result")

FILE = "study.db"
UNUSABLE = (SQLAlchemyError, StorageInternalError)
"""Errors of a database that does not answer."""
DAMAGE = (
    *(*UNUSABLE, ImportError, RuntimeError),
    *(LookupError, ValueError, TypeError, AttributeError, AssertionError),
)
"""What Optuna also raises where a table, a row or the JSON in it is not what it has written."""
WAITS = (1.0, 5.0, 30.0)
"""Seconds before each new attempt to write what must not be lost."""
PATIENCE = 60
"""Seconds that a writer waits for another writer of the same file."""


class LatestTrials(optuna.Study):
    """A study without the trials that others continue, which have their rungs at the pruner too."""

    def get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """The trials as Optuna gives them, each of several attempts at a training once."""
        trials = super().get_trials(deepcopy, states)
        continued = {trial.user_attrs.get("continues") for trial in trials}
        return [trial for trial in trials if trial.number not in continued]


def url_of(folder: Path, storage: str | None) -> str:
    """``hydra.sweeper.storage``, or a file in the study's folder."""
    return storage or f"sqlite:///{(folder / FILE).absolute()}"


def open_database(url: str) -> RDBStorage:
    """The database, created if need be; UserError if it cannot be used."""
    repair()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # A server closes connections that are idle while a network is trained.
    sqlite = url.startswith("sqlite")
    options = {"connect_args": {"timeout": PATIENCE}} if sqlite else {"pool_pre_ping": True}
    with readable(url):
        return RDBStorage(url, engine_kwargs=options)


def check_database(url: str) -> None:
    """Raise UserError unless a database answers at ``hydra.sweeper.storage`` and keeps a study."""
    try:
        address = make_url(url)
        if address.get_backend_name() == "sqlite" and _is_in_memory(address.database):
            raise ArgumentError("a database in memory ends with its process")
        engine = create_engine(url, poolclass=NullPool)
        with engine.connect():
            pass
    except (SQLAlchemyError, ImportError) as error:
        raise UserError(_refusal(url, error)) from error


def _is_in_memory(database: str | None) -> bool:
    """Whether the database part of a SQLite URL names no file."""
    return not database or ":memory:" in database or "mode=memory" in database


@contextmanager
def readable(url: str, errors: tuple[type[Exception], ...] = DAMAGE) -> Iterator[None]:
    """Turn ``errors``, by which a database does not answer or is damaged, into a UserError."""
    try:
        yield
    except errors as error:
        raise UserError(_refusal(url, error)) from error


def _refusal(url: str, error: Exception) -> str:
    reason = mask(first_line(error))
    file = Path(make_url(url).database or "") if url.startswith("sqlite") else None
    if "compatible with the table schema" in reason:
        return _other_version(mask(url) if file is None else str(file), url, reason)
    if file is not None and file.is_file():
        return (
            f"the study in {file} cannot be used ({reason}). If it is damaged, restore it from a "
            "backup, or move it away and start the same command again: the folders of finished "
            "trainings are found, and these are not repeated"
        )
    return (
        f"hydra.sweeper.storage={mask(url)} cannot be used ({reason}); "
        "give the URL of a database that answers, or null for a file"
    )


def _other_version(where: str, url: str, reason: str) -> str:
    """What to do about a study that another version of Optuna keeps; ``where`` is for people."""
    this = f"this is Optuna {optuna.__version__}"
    if "storage upgrade" in reason:
        return (
            f"the study in {where} was written by an older Optuna, and {this}; `optuna storage "
            f"upgrade --storage {mask(url)}` makes it readable here, and no longer there"
        )
    return (
        f"the study in {where} was written by a newer Optuna, and {this}; continue it where that "
        "version is installed, or restore a backup. task=export_study makes copies for others"
    )


def insist(action: Callable[[], Result], *, waits: Sequence[float] = WAITS) -> Result:
    """The result of ``action``, tried again after each of the ``waits`` (seconds) that it fails.

    Raises UserError if the database still does not answer.
    """
    for wait in (*waits, None):
        try:
            return action()
        except (SQLAlchemyError, StorageInternalError, OSError) as error:
            reason = mask(first_line(error))
            if wait is None:
                raise UserError(
                    f"the database of the study does not answer ({reason}); the same command "
                    "continues the study once it does"
                ) from error
            log.warning("the database of the study will be tried again: %s", reason)
            time.sleep(wait)
    raise AssertionError


@contextmanager
def exclusive(folder: Path, url: str) -> Iterator[None]:
    """Hold the study: under a file lock, and on PostgreSQL also under a lock of the server.

    Machines that do not share the folder share the database alone.
    """
    with locked(folder / "study.lock"):
        if not url.startswith("postgresql"):
            yield
            return
        number = int.from_bytes(hashlib.sha256(folder.name.encode()).digest()[:7])
        engine = create_engine(url, poolclass=NullPool)
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": number})
            yield
