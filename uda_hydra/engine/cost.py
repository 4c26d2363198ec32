"""What a training takes, over all the processes that have worked on it."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from uda_hydra.engine.device import peak_memory, reset_peak_memory
from uda_hydra.files import read_json, write_json


class Cost:
    """Seconds and peak memory of a training, kept in ``cost.json`` beside its checkpoint.

    Not in the checkpoint, whose bytes must not depend on time. What a process did after its last
    checkpoint is done again by the next one, and counts once.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self._path = folder / "cost.json"
        self._device = device
        self._seconds, self._peak_gb = 0.0, 0.0
        self._started = time.perf_counter()

    def restore(self) -> None:
        """Take up what the processes before this one have written down."""
        before = read_json(self._path) or {}
        self._seconds = before.get("seconds") or 0.0
        self._peak_gb = before.get("peak_memory_gb") or 0.0

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
        """Write the total down; comes with every checkpoint."""
        write_json(self._path, self.total())
