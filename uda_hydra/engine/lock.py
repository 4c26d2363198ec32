"""One process on one output folder."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``folder``, made if need be; the system frees it when its holder dies.

    Raises OSError if another process has it or nothing can be written there.
    """
    with _opened(folder) as file:
        try:
            # Not flock, which data loading workers inherit and keep when their parent is killed.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise OSError(
                f"another process ({file.read().strip()}) is at work in {folder}; "
                "wait for it, stop it, or choose another folder with output=..."
            ) from None
        file.truncate(0)
        file.write(f"pid {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _opened(folder: Path) -> TextIO:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / ".lock").open("a+")
    except OSError as error:
        raise OSError(
            f"nothing can be written into {folder} ({error.strerror}); make it writable or choose "
            "another folder with output=..."
        ) from error
