"""``tracking.uri``: what can never work is refused at once, offline; passwords stay in memory."""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from uda_hydra.errors import nearest
from uda_hydra.files import mask

SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)([^?]*)(\?.*)?")
"""Scheme, path and options of a database that is a file."""
REMEDY = "use sqlite:///outputs/mlflow.db for a file, or http://server:5000 for a server"
FOLDERS, CATALOGS = ("", "file"), ("databricks-uc", "uc")
BARE = ("databricks", *CATALOGS)
"""Schemes that are URIs without anything after them."""
PACKAGES = {"MySQLdb": "mysqlclient"}
"""Packages of modules with another name."""

_with_password: dict[str, str] = {}
"""Masked URI to the full one, of this process."""


def hide(uri: str) -> str:
    """The URI as files may hold it, without its password, which this process remembers."""
    hidden = mask(uri)
    if hidden != uri:
        _with_password[hidden] = uri
    return hidden


def reveal(hidden: str) -> str:
    """The URI with the password that this process knows of it; the same if it knows none."""
    return _with_password.get(hidden, hidden)


def database_path(uri: str) -> Path | None:
    """The file of a SQLite URI; None for all other stores."""
    found = SQLITE.fullmatch(uri)
    return Path(found[2]) if found else None


def with_path(uri: str, path: Path) -> str:
    """A SQLite URI with another file."""
    return SQLITE.sub(lambda found: f"{found[1]}{path}{found[3] or ''}", uri)


def absolute(uri: str) -> str:
    """The URI of the same store, independent of the current folder."""
    path = database_path(uri)
    return uri if path is None else with_path(uri, path.absolute())


def is_server(uri: str) -> bool:
    """Whether MLflow reaches the store over HTTP, so that it decides where artifacts are."""
    return re.match("https?:", uri, re.IGNORECASE) is not None


def is_database(uri: str) -> bool:
    """Whether MLflow opens the store as a database, without a server of its own in between."""
    return re.match(r"(sqlite|postgresql|mysql|mssql)[+:]", uri, re.IGNORECASE) is not None


def check_uri(uri: str) -> None:
    """Raise ValueError, with the remedy, for a URI that cannot work; no network is used."""
    if fault := _fault(uri):
        shown = mask(uri)
        shown = shown if shown == shown.strip() and shown.isprintable() else repr(shown)
        raise ValueError(f"tracking.uri={shown} {fault}")


def _fault(uri: str) -> str | None:
    """What is wrong with the URI and what to do."""
    if not uri.strip():
        return f"is empty; {REMEDY}, or tracking=none"
    if uri != uri.strip() or not uri.isprintable():
        return f"has spaces around it or control characters; {REMEDY}"
    if "***" in uri:
        return "lacks its password, which no file holds; give the whole URI as tracking.uri=..."
    if re.match(r"[\w.-]+:\d+(/|$)", uri):
        return f"lacks its scheme; use http://{uri}"
    scheme = uri if uri in BARE else (re.match(r"(?:([A-Za-z][\w+.-]*):)?", uri)[1] or "")
    kind = scheme.lower().partition("+")[0]
    if kind == "sqlite":
        return _file_fault(uri) or _database_fault(uri)
    if is_server(uri):
        return _server_fault(uri)
    if kind in FOLDERS:
        return f"is a folder, which MLflow does not write into any more; {REMEDY}"
    return _database_fault(uri) if is_database(uri) else _scheme_fault(uri, kind)


def _file_fault(uri: str) -> str | None:
    path = database_path(uri)
    if path is None or path == Path():
        return "needs three slashes and a path; use sqlite:///outputs/mlflow.db"
    if str(path) == ":memory:" or str(path).startswith("file:"):
        return "is not a path; use sqlite:///outputs/mlflow.db"
    if str(path).startswith("~"):
        return f"is not expanded by a shell; use sqlite:///{_expanded(path)}"
    if path.exists() and not path.is_file():
        return "is not a file; add the name of the database, such as mlflow.db"
    parent = next((one for one in path.absolute().parents if one.exists()), None)
    if parent is not None and not parent.is_dir():
        return f"lies below {parent}, which is not a folder; choose another path"
    return None


def _server_fault(uri: str) -> str | None:
    try:
        parts = urlsplit(uri)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or " " in uri or "://" in uri.partition("://")[2]:
        return "is not the address of a server; use http://server:5000"
    return None


def _database_fault(uri: str) -> str | None:
    """Whether SQLAlchemy can read the URI, and has the driver that it names."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        url = make_url(uri)
        url.get_dialect().import_dbapi()
    except NoSuchModuleError:
        return f"names a driver that SQLAlchemy does not know; use {url.get_backend_name()}://..."
    except (ArgumentError, ValueError):
        return "cannot be read; a database is postgresql://user:password@host:5432/name"
    except ImportError as error:
        package = PACKAGES.get(error.name, error.name)
        return f"needs the package {package}; install it (pip install {package}), or {REMEDY}"
    if url.get_backend_name() != "sqlite" and not url.host:
        return "names no host; a database is postgresql://user:password@host:5432/name"
    return None


def _scheme_fault(uri: str, kind: str) -> str | None:
    """What MLflow says of a scheme that is neither a file, a server nor a database."""
    # Private, but the only list that holds the schemes of plugins and connects to nothing.
    from mlflow.tracking._tracking_service.utils import _tracking_store_registry as registry

    known = {*registry._registry} - {*FOLDERS, *CATALOGS}
    if kind in CATALOGS:
        return f"is a registry of models and holds no runs; {REMEDY}"
    if kind not in known:
        return f"has no scheme that MLflow knows{nearest(kind, known)}; {REMEDY}"
    return _databricks_fault() if kind == "databricks" else None


def _databricks_fault() -> str | None:
    """The package and some configuration must be there."""
    try:
        importlib.import_module("databricks.sdk")
    except ImportError:
        return "needs the package databricks-sdk; install it (pip install databricks-sdk)"
    file = _expanded(Path(os.environ.get("DATABRICKS_CONFIG_FILE", "~/.databrickscfg")))
    if "DATABRICKS_HOST" not in os.environ and not file.is_file():
        return "needs DATABRICKS_HOST and DATABRICKS_TOKEN in the environment, or ~/.databrickscfg"
    return None


def _expanded(path: Path) -> Path:
    """The path with ``~`` replaced, if the user has a home, which a container may not know."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path
