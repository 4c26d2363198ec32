"""Which process works on a trial, and whether that process is alive or was killed."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import psutil

log = logging.getLogger(__name__)
PERIOD, SILENCE = 20.0, 120.0
"""Seconds between two heartbeats, and after which a process of another machine counts as dead."""


def identify_process() -> dict[str, Any]:
    """This process: its host, its id and when it started (an id may be reused)."""
    process = psutil.Process()
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": process.create_time()}


def is_alive(owner: Mapping[str, Any] | None, heartbeat: float) -> bool:
    """Whether a process still works; ``heartbeat`` is its last one, in seconds since 1970."""
    if owner is None:
        return False
    if owner["host"] != socket.gethostname():
        return time.time() - heartbeat < SILENCE
    try:
        return abs(psutil.Process(owner["pid"]).create_time() - owner["started"]) < 1.0
    except psutil.NoSuchProcess:
        return False


class Heartbeat:
    """While entered, calls ``beat`` every ``PERIOD`` seconds from a thread of its own."""

    def __init__(self, beat: Callable[[], None]) -> None:
        self._beat = beat
        self._over = threading.Event()
        # A daemon: a database that hangs must not keep a finished sweep from exiting.
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join(1.0)

    def _run(self) -> None:
        while not self._over.wait(PERIOD):
            try:
                self._beat()
            # One lost connection must not end the thread: other machines would take over a live
            # trial after SILENCE. Each database driver has errors of its own.
            except Exception as error:
                log.warning("heartbeat failed, next in %.0f s: %s", PERIOD, error)
