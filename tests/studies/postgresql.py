"""A PostgreSQL server of a test's own."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def program(name: str) -> str:
    """Where Debian puts the server's programs; skips the test where there are none."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    found = shutil.which(name, path=os.pathsep.join([*map(str, places), os.environ["PATH"]]))
    if found is None:
        pytest.skip("no PostgreSQL server here (apt-get install postgresql)")
    return found


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """The URL of an empty database that lives as long as the context."""
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip('no psycopg here (pip install -e ".[postgresql]")')
    data, user = folder / "postgresql", {}
    data.mkdir()
    if os.geteuid() == 0:
        # It refuses to run as root.
        known = [entry for entry in pwd.getpwall() if entry.pw_name == "postgres"]
        if not known:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        os.chown(data, known[0].pw_uid, known[0].pw_gid)
        for parent in (data, *data.parents):
            if parent.stat().st_uid == os.geteuid():
                parent.chmod(parent.stat().st_mode | 0o011)
        user = {"user": known[0].pw_uid, "group": known[0].pw_gid}
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]

    def run(*command: str) -> None:
        subprocess.run(command, cwd=data, check=True, capture_output=True, text=True, **user)

    run(program("initdb"), "-D", str(data / "db"), "-U", "me", "--auth=trust")
    options = f"-p {port} -k {data} -c listen_addresses=127.0.0.1"
    control = program("pg_ctl"), "-D", str(data / "db"), "-l", str(data / "log")
    run(*control, "-w", "-o", options, "start")
    try:
        yield f"postgresql+psycopg://me@127.0.0.1:{port}/postgres"
    finally:
        run(*control, "-m", "fast", "stop")
