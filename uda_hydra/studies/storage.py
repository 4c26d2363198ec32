"""The database of a study, and the lock under which several processes change it."""

from __future__ import annotations

import hashlib
import logging
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from uda_hydra.errors import UserError
from uda_hydra.files import locked
from uda_hydra.studies.optuna2 import repair

log = logging.getLogger(__name__)
Result = TypeVar("Result")

FILE = "study.db"
WAITS = (1.0, 5.0, 30.0)
"""Seconds before each new attempt to write what must not be lost."""
PATIENCE = 60
"""Seconds that a writer waits for another writer of the same file."""


def url_of(folder: Path, storage: str | None) -> str:
    """``hydra.sweeper.storage``, or a file in the study's folder."""
    return storage or f"sqlite:///{(folder / FILE).absolute()}"


def open_database(url: str) -> RDBStorage:
    """The database, created if need be; UserError if it cannot be used."""
    repair()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Optuna 2 calls these experimental; later versions do not.
    experimental = r"(create_trial|add_trials?) is experimental"
    warnings.filterwarnings("ignore", experimental, ExperimentalWarning)
    # A server closes connections that are idle while a network is trained.
    sqlite = url.startswith("sqlite")
    options = {"connect_args": {"timeout": PATIENCE}} if sqlite else {"pool_pre_ping": True}
    try:
        return RDBStorage(url, engine_kwargs=options)
    except (SQLAlchemyError, ImportError) as error:
        raise UserError(_refusal(url, error)) from error


def check_database(url: str) -> None:
    """Raise UserError unless a database answers at ``hydra.sweeper.storage``."""
    try:
        engine = create_engine(url, poolclass=NullPool)
        with engine.connect():
            pass
    except (SQLAlchemyError, ImportError) as error:
        raise UserError(_refusal(url, error)) from error


def _refusal(url: str, error: Exception) -> str:
    reason = str(error).splitlines()[0]
    return (
        f"hydra.sweeper.storage={hide_password(url)} cannot be used ({reason}); "
        "give the URL of a database that answers, or null for a file"
    )


def hide_password(url: str) -> str:
    """The URL without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return url


def insist(action: Callable[[], Result], *, waits: Sequence[float] = WAITS) -> Result:
    """The result of ``action``, tried again after each of the ``waits`` (seconds) that it fails.

    Raises UserError if the database still does not answer.
    """
    for wait in (*waits, None):
        try:
            return action()
        except (SQLAlchemyError, StorageInternalError, OSError) as error:
            reason = str(error).splitlines()[0]
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
