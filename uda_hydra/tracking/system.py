"""Load of the machine, as metrics."""

from __future__ import annotations

import time

import psutil
import torch


class System:
    """Load of the machine, every ``period`` seconds, at the step that is logged then.

    The axis is steps and not times, as for every other metric, so that a value sent twice is
    recognised by its step.
    """

    def __init__(self, period: float = 10.0) -> None:
        self._period = period
        self._due = 0.0
        self._process = psutil.Process()
        psutil.cpu_percent()  # each call reports the time since the one before

    def sample(self) -> dict[str, float]:
        """Metrics ``system/*``, or nothing if it is too early."""
        if time.monotonic() < self._due:
            return {}
        self._due = time.monotonic() + self._period
        values = {
            "system/cpu_percent": psutil.cpu_percent(),
            "system/memory_gb": self._process.memory_info().rss / 1e9,
        }
        if torch.cuda.is_initialized():
            free, total = torch.cuda.mem_get_info()
            values["system/gpu_memory_gb"] = (total - free) / 1e9
        return values
