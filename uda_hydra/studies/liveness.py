"""Which process works on a trial, and whether that process is alive or was killed."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from uda_hydra.errors import first_line

log = logging.getLogger(__name__)
PERIOD, SILENCE = 20.0, 120.0
"""Seconds between two heartbeats, and after which a process of another machine counts as dead."""
TOLERANCE = 2.5
"""Seconds by which two readings of a process's start may differ: the boot's is a whole second."""
BOOT, PROCESSES = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
"""What distinguishes containers and restarts of a machine of the same name; Linux only."""


def identify_process() -> dict[str, Any]:
    """This process: where it runs, its id and when it started (an id may be reused)."""
    return {"place": _place(), "pid": os.getpid(), "started": _started(psutil.Process())}


def is_alive(owner: Mapping[str, Any] | None, heartbeat: float) -> bool:
    """Whether a process still works; ``heartbeat`` is its last one, in seconds since 1970.

    The system itself knows the processes of this place, however long their heartbeats fail.
    """
    if owner is None:
        return False
    if owner.get("place") != _place():
        return time.time() - heartbeat < SILENCE
    try:
        process = psutil.Process(owner["pid"])
        # One that was killed stays listed until its parent has asked for its exit code.
        dead = process.status() == psutil.STATUS_ZOMBIE
        return not dead and abs(_started(process) - owner["started"]) < TOLERANCE
    except psutil.NoSuchProcess:
        return False


def _place() -> str:
    """Where process ids have one meaning: a host since its last start, or a container."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(BOOT.read_text().strip())
        parts.append(str(PROCESSES.readlink()))
    return " ".join(parts)


def _started(process: psutil.Process) -> float:
    """When a process started, in seconds since the machine did: no clock that is set counts."""
    return process.create_time() - psutil.boot_time()


class Heartbeat:
    """While entered, calls ``beat`` every ``PERIOD`` seconds from a thread of its own.

    Whatever ``beat`` raises is reported once, and it is called again until it succeeds.
    """

    def __init__(self, beat: Callable[[], None]) -> None:
        self._beat = beat
        self._over = threading.Event()
        self._failing = False
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
                if not self._failing:
                    log.warning("heartbeat failed and will retry: %s", first_line(error))
                self._failing = True
            else:
                if self._failing:
                    log.info("the study's database answers again")
                self._failing = False
