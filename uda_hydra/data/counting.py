"""How far a long task is: one live line on a terminal, plain lines in a pipe."""

from __future__ import annotations

import io
import shutil
import sys
import time
from collections.abc import Callable

LIVE_PERIOD, PLAIN_PERIOD = 0.1, 15.0
"""Seconds between two lines on a terminal, and in a pipe."""


class Count:
    """Prints how much is done, to the standard error unless ``stream`` is given."""

    def __init__(
        self,
        what: str,
        stream: io.TextIOBase | None = None,
        *,
        unit: str = "files",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what, self._unit = what, unit
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty()
        self._clock = clock
        self._printed = clock() - (PLAIN_PERIOD if self._live else 0)
        self._last = -1

    def __call__(self, done: int, total: int) -> None:
        """Print where it is due; the end is always printed, once."""
        now = self._clock()
        ended = done == total
        due = now - self._printed >= (LIVE_PERIOD if self._live else PLAIN_PERIOD)
        if done == self._last or not (ended or due):
            return
        self._printed, self._last = now, done
        line = f"{self._what}: {done}/{total} {self._unit}"
        if self._live:
            line = f"\r{line[: shutil.get_terminal_size().columns - 1]}\033[K"
        print(line, end="" if self._live and not ended else "\n", file=self._stream, flush=True)
