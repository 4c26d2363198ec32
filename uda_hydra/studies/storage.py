"""The database of a study, and the lock that makes a look at it and a change one act."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from uda_hydra.errors import UserError
from uda_hydra.files import locked
from uda_hydra.studies.optuna2 import repair

FILE = "study.db"
PATIENCE = 60
"""Seconds that a writer waits for another one of the same file."""


def url_of(folder: Path, storage: str | None) -> str:
    """``hydra.sweeper.storage``, or a file in the study's folder."""
    return storage or f"sqlite:///{(folder / FILE).absolute()}"


def opened(url: str) -> RDBStorage:
    """The database, made if need be; UserError if it cannot be used."""
    repair()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # So it is in Optuna 2; later versions have it for good.
    trying = r"(create_trial|add_trials?) is experimental"
    warnings.filterwarnings("ignore", trying, ExperimentalWarning)
    # A server closes connections that were silent while a network was trained.
    sqlite = url.startswith("sqlite")
    options = {"connect_args": {"timeout": PATIENCE}} if sqlite else {"pool_pre_ping": True}
    try:
        return RDBStorage(url, engine_kwargs=options)
    except (SQLAlchemyError, ImportError) as error:
        raise UserError(_refusal(url, error)) from error


def check(url: str) -> None:
    """Raise UserError unless something answers at ``hydra.sweeper.storage``."""
    try:
        engine = create_engine(url, poolclass=NullPool)
        with engine.connect():
            pass
    except (SQLAlchemyError, ImportError) as error:
        raise UserError(_refusal(url, error)) from error


def _refusal(url: str, error: Exception) -> str:
    reason = str(error).splitlines()[0]
    return (
        f"hydra.sweeper.storage={shown(url)} cannot be used ({reason}); "
        "give the URL of a database that answers, or null for a file"
    )


def shown(url: str) -> str:
    """The URL without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return url


@contextmanager
def exclusive(folder: Path, url: str) -> Iterator[None]:
    """One process of the study at a time: by a file's lock, and on PostgreSQL by the server's.

    A machine that has a folder of its own meets the others in the database alone.
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
