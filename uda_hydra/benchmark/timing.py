"""Two ways of computing the same result, timed in turns, and the numbers that are reported."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Disagreement(RuntimeError):
    """Two ways that should give the same result do not: timing them would mean nothing."""


@dataclass(frozen=True)
class Setting:
    """What the comparisons are run with."""

    device: torch.device
    threads: int
    folder: Path
    """Temporary files go here."""
    quick: bool = False
    """Small sizes and two repetitions: whether it works, not how fast it is."""
    full: bool = False
    """The full ResNet-101 on the CPU too."""

    def repetitions(self, count: int) -> int:
        """``count``, or two where speed does not matter."""
        return 2 if self.quick else count


class Times(NamedTuple):
    """Seconds of each repetition; equal places were measured one right after the other."""

    ours: list[float]
    plain: list[float]


class Ratio(NamedTuple):
    """Ratio of the medians, and the quartiles of the ratios of the pairs."""

    medians: float
    low: float
    high: float


class Measurement(NamedTuple):
    """One line of the report; without ``plain`` it is a bare duration."""

    name: str
    ours: float
    """Median seconds."""
    plain: float | None
    ratio: Ratio | None
    meaning: str
    """Which way round the ratio is."""
    demand: str
    repetitions: int
    note: str
    """Sizes, and what has to be known to read the numbers."""


def speedup(name: str, times: Times, demand: str, note: str) -> Measurement:
    """How many times faster our way is."""
    ratio = _ratio(times.plain, times.ours)
    return _row(name, times, ratio, "plain / ours", demand, note)


def overhead(name: str, times: Times, demand: str, note: str) -> Measurement:
    """How much of the plain way's time ours takes."""
    ratio = _ratio(times.ours, times.plain)
    return _row(name, times, ratio, "ours / plain", demand, note)


def duration(name: str, seconds: list[float], note: str) -> Measurement:
    """A time that is compared with nothing."""
    return Measurement(name, float(np.median(seconds)), None, None, "", "", len(seconds), note)


def _row(
    name: str, times: Times, ratio: Ratio, meaning: str, demand: str, note: str
) -> Measurement:
    ours, plain = (float(np.median(seconds)) for seconds in times)
    return Measurement(name, ours, plain, ratio, meaning, demand, len(times.ours), note)


def _ratio(above: list[float], below: list[float]) -> Ratio:
    low, high = np.quantile(np.divide(above, below), [0.25, 0.75])
    return Ratio(float(np.median(above) / np.median(below)), float(low), float(high))


def side_by_side(
    ours: Callable[[], object],
    plain: Callable[[], object],
    *,
    repetitions: int,
    device: torch.device,
) -> Times:
    """Time both in turns, so that a busy machine slows both, after one untimed call of each."""
    times = Times([], [])
    for repetition in range(-1, repetitions):
        pair = [(ours, times.ours), (plain, times.plain)]
        # The second of the two finds warm caches, so they take turns.
        for call, seconds in pair[:: 1 if repetition % 2 else -1]:
            elapsed = measure(call, device)
            if repetition >= 0:
                seconds.append(elapsed)
    return times


def measure(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call, with all that it has the device do."""
    wait(device)
    start = time.perf_counter()
    call()
    wait(device)
    return time.perf_counter() - start


def wait(device: torch.device) -> None:
    """Wait until the device has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def agree(what: str, ours: Tensor, plain: Tensor, *, tolerance: float = 0.0) -> None:
    """Raise Disagreement unless no value is further off than ``tolerance`` x the largest one."""
    if ours.shape != plain.shape:
        raise Disagreement(f"{what}: the shapes are {[*ours.shape]} and {[*plain.shape]}")
    difference = (ours.double() - plain.double()).abs().max().item()
    allowed = tolerance * plain.double().abs().max().item()
    # Turned round, a nan would agree with everything.
    if not difference <= allowed:
        raise Disagreement(
            f"{what}: the two ways differ by {difference:.3g}, allowed are {allowed:.3g}; "
            "their times mean nothing until one of them is fixed"
        )
