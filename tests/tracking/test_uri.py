from __future__ import annotations

import pwd
import sys

import pytest

from uda_hydra.files import mask
from uda_hydra.tracking.uri import absolute, check_uri, hide, reveal

REFUSED = {
    "": "is empty",
    " ": "is empty",
    " http://host": "has spaces around it",
    "http://host\n": "has spaces around it",
    "http://ho st": "http://server:5000",
    "http://": "http://server:5000",
    "http://host:port": "http://server:5000",
    "http://host:99999": "http://server:5000",
    "https://[::1": "http://server:5000",
    "http://http://host": "http://server:5000",
    "localhost:5000": "use http://localhost:5000",
    "127.0.0.1:5000/": "use http://127.0.0.1:5000/",
    "./runs": "sqlite:///outputs/mlflow.db",
    "file:./runs": "sqlite:///outputs/mlflow.db",
    "sqlite://runs.db": "three slashes",
    "sqlite:runs.db": "three slashes",
    "sqlite:///": "three slashes",
    "sqlite:///?timeout=1": "three slashes",
    "sqlite:///:memory:": "is not a path",
    "sqlite:///~/runs.db": "is not expanded by a shell",
    "sqlite:////": "is not a file",
    "sqlite:////dev/null": "is not a file",
    "sqlite:////etc/passwd/runs.db": "/etc/passwd, which is not a folder",
    "postgres://user:secret@host/runs": "did you mean postgresql?",
    "postgresql+nothing://user:secret@host/runs": "use postgresql://...",
    "mysql+pymysql://user:secret@host/runs": "pip install pymysql",
    "mysql+a+b://user:secret@host/runs": "cannot be read",
    "ftp://user:secret@host": "has no scheme that MLflow knows",
    "uc": "holds no runs",
    "http://user:***@host": "lacks its password",
}


@pytest.mark.parametrize("uri", REFUSED)
def test_what_cannot_work_is_refused_with_its_remedy_and_without_a_password(uri):
    with pytest.raises(ValueError, match=r"^tracking\.uri=[^\n]*$") as refusal:
        check_uri(uri)
    assert REFUSED[uri] in str(refusal.value)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    "uri",
    [
        "sqlite:///outputs/mlflow.db",
        "sqlite:///{folder}/my runs.db?timeout=3",
        "sqlite+pysqlite:///runs.db",
        "http://host:5000",
        "https://user:secret@host/prefix/",
        "http://[::1]:5000",
        "HTTP://host",
    ],
)
def test_what_can_work_is_not(uri, tmp_path):
    check_uri(uri.format(folder=tmp_path))


def test_databricks_needs_its_package_and_its_configuration(monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "databricks.sdk", None)
        with pytest.raises(ValueError, match="pip install databricks-sdk"):
            check_uri("databricks")
    monkeypatch.delenv("DATABRICKS_HOST", raising=False)
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "none"))
    for uri in ("databricks", "databricks://profile"):
        with pytest.raises(ValueError, match="DATABRICKS_HOST"):
            check_uri(uri)
        monkeypatch.setenv("DATABRICKS_HOST", "https://host")
        check_uri(uri)
        monkeypatch.delenv("DATABRICKS_HOST")


def test_a_user_without_a_home_is_no_fault(monkeypatch):
    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("HOME", "DATABRICKS_HOST", "DATABRICKS_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for uri, remedy in {
        "databricks": "DATABRICKS_HOST",
        "sqlite:///~/runs.db": "~/runs.db",
    }.items():
        with pytest.raises(ValueError, match=remedy):
            check_uri(uri)


def test_a_password_is_masked_wherever_it_stands():
    assert mask("http://user:se/cr@et@host:5000/a") == "http://user:***@host:5000/a"
    assert mask("postgresql://u:p@h/d?sslpassword=p&x=1") == (
        "postgresql://u:***@h/d?sslpassword=***&x=1"
    )
    assert mask("http://host:5000/a") == "http://host:5000/a"
    assert mask("sqlite:////a/b@c.db") == "sqlite:////a/b@c.db"


def test_a_hidden_password_is_known_to_its_own_process_alone():
    assert hide("http://user:one@host") == "http://user:***@host"
    assert reveal("http://user:***@host") == "http://user:one@host"
    assert reveal("http://other:***@host") == "http://other:***@host"


def test_relative_stores_are_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (
        absolute("sqlite:///outputs/m.db?timeout=3")
        == f"sqlite:///{tmp_path}/outputs/m.db?timeout=3"
    )
    assert absolute("http://host:5000") == "http://host:5000"
