"""Load of the machine, as metrics."""

from __future__ import annotations

import time

import psutil

PERIOD = 10.0
"""Seconds between two samples."""


class System:
    """Load of the machine, every ``PERIOD`` seconds, at the step that is logged then.

    The axis is steps and not times, as for every other metric, so that a value sent twice is
    recognised by its step.
    """

    def __init__(self) -> None:
        self._due = 0.0
        self._process = psutil.Process()
        psutil.cpu_percent()  # each call reports the time since the one before

    def sample(self) -> dict[str, float]:
        """Metrics ``system/*``, or nothing if it is too early."""
        if time.monotonic() < self._due:
            return {}
        self._due = time.monotonic() + PERIOD
        # The trainer itself logs the memory of its device.
        return {
            "system/cpu_percent": psutil.cpu_percent(),
            "system/memory_gb": self._process.memory_info().rss / 1e9,
        }
