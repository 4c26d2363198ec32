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
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold ``folder``, made if need be; the system frees it when its holder dies.

    If another process has it, ``wait`` for that one to end, else raise OSError. Raises OSError
    if nothing can be written there.
    """
    with _opened(folder) as file:
        try:
            # Not flock, which data loading workers inherit and keep when their parent is killed.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = f"another process ({file.read().strip()}) is at work in {folder}"
            if not wait:
                raise OSError(
                    f"{holder}; wait for it, stop it, or choose another folder with output=..."
                ) from None
            print(f"{holder}; waiting for it", flush=True)
            fcntl.lockf(file, fcntl.LOCK_EX)
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
