"""Time, memory and device of a training, over all the processes that have worked on it."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from uda_hydra.engine.device import peak_memory, reset_peak_memory
from uda_hydra.files import is_number, read_json, write_json
from uda_hydra.inputs import shown


class Cost:
    """Seconds and peak memory of a training, kept in ``cost.json`` next to its checkpoint.

    Not in the checkpoint, whose bytes must not depend on time. What a process did after its last
    checkpoint is done again by the next one, and counts once.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self._path = folder / "cost.json"
        self._device = device
        self._seconds, self._peak_gb = 0.0, 0.0
        self._started = time.perf_counter()

    def restore(self) -> str:
        """Add what earlier processes have recorded; returns what to say of another device."""
        before = read_json(self._path) or {}
        known = (before.get(key) for key in ("seconds", "peak_memory_gb"))
        self._seconds, self._peak_gb = (value if is_number(value) else 0.0 for value in known)
        device = before.get("device", self._device.type)
        if device == self._device.type:
            return ""
        return f" on {self._device.type}, not {shown(device)}: no longer the numbers of one device"

    def start(self) -> None:
        """Count from now on: what this process did before belongs to another training."""
        reset_peak_memory(self._device)
        self._started = time.perf_counter()

    def total(self) -> dict[str, float]:
        """``seconds`` in training, and the largest ``peak_memory_gb`` of any process."""
        return {
            "seconds": self._seconds + time.perf_counter() - self._started,
            "peak_memory_gb": max(self._peak_gb, peak_memory(self._device)),
        }

    def save(self) -> None:
        """Record the total; called with every checkpoint."""
        write_json(self._path, self.total() | {"device": self._device.type})
