"""Who works on a trial: what tells a process that is alive from one that was killed."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import psutil

PERIOD, SILENCE = 20.0, 120.0
"""Seconds between two signs of life, and after which a process of another machine is dead."""


def myself() -> dict[str, Any]:
    """This process, as others will recognise it."""
    process = psutil.Process()
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": process.create_time()}


def alive(owner: Mapping[str, Any] | None, sign: float) -> bool:
    """Whether a process still works; ``sign`` is when it last said so, in seconds since 1970."""
    if owner is None:
        return False
    if owner["host"] != socket.gethostname():
        return time.time() - sign < SILENCE
    try:
        return abs(psutil.Process(owner["pid"]).create_time() - owner["started"]) < 1.0
    except psutil.NoSuchProcess:
        return False


class Heartbeat:
    """While entered, calls ``say`` every ``PERIOD`` seconds, whatever else the process does."""

    def __init__(self, say: Callable[[], None]) -> None:
        self._say = say
        self._over = threading.Event()
        # A daemon: a database that hangs must not keep a finished sweep from exiting.
        self._thread = threading.Thread(target=self._work, name="heartbeat", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join(1.0)

    def _work(self) -> None:
        while not self._over.wait(PERIOD):
            self._say()
