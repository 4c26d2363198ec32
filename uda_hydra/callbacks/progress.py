"""Progress of a training: one live line on a terminal, plain lines in a pipe and in a file."""

from __future__ import annotations

import logging
import math
import os
import re
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from uda_hydra.data.counting import LIVE_PERIOD, PLAIN_PERIOD
from uda_hydra.engine.events import Callback, Evaluation, Run
from uda_hydra.engine.scores import heading
from uda_hydra.files import printable
from uda_hydra.terminal import Stream

log = logging.getLogger(__name__)

LOGS_IN_RATE = 20
"""The rate shown is a mean over so many logs, so that it neither jumps nor lags. Evaluations and
saves are left out of it."""
LOG = "train.log"
POSITION = re.compile(r" (\d+/\d+) ")
TAIL = 4096
"""Bytes at the end of a log that hold its last line."""


class Progress(Callback):
    """Step, rate, time left, losses and the last mIoU.

    ``stream`` is the standard error by default; the file is ``train.log`` in the run's folder.
    """

    def __init__(
        self, stream: Stream | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console(sys.stderr if stream is None else stream)
        self._live: Live | None = None
        self._clock = clock
        self._file: Path | None = None

    def on_start(self, run: Run) -> None:
        """Print which steps will be trained."""
        run.folder.mkdir(parents=True, exist_ok=True)
        self._file = run.folder / LOG
        self._steps = run.steps
        self._score = ""
        self._start = (self._clock(), run.start)
        self._rates = deque(maxlen=LOGS_IN_RATE)
        self._shown = float("-inf")
        start = f"from step {run.start} " if run.start else ""
        self._print(printable(f"{run.name}: {start}to step {run.steps}"))
        if self._console.is_interactive:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()

    def on_log(self, step: int, values: dict[str, float]) -> None:
        """Write a line to the file, and to the stream if the last one is old enough."""
        now = self._clock()
        self._rates.append(values["speed/steps_per_second"])
        losses = [
            f"{name.removeprefix('loss/')} {value:.3g}"
            for name, value in values.items()
            if name.startswith("loss/")
        ]
        line = "  ".join([self._position(step), *losses, self._score]).rstrip()
        self._write_log(line)
        if now - self._shown >= (PLAIN_PERIOD if self._live is None else LIVE_PERIOD):
            self._shown = now
            self._show(line)

    def on_evaluate(self, evaluation: Evaluation) -> None:
        """Print the scores as a line that is not overwritten."""
        scores = evaluation.scores
        self._score = f"mIoU {100 * scores.miou:.1f}"
        shares = {heading(metric): one.miou for metric, one in scores.subsets.items()}
        shares["pixel accuracy"] = scores.pixel_accuracy
        # A subset none of whose classes occur has no mean.
        known = {name: share for name, share in shares.items() if not math.isnan(share)}
        others = ", ".join(f"{name} {100 * share:.2f} %" for name, share in known.items())
        self._print(
            f"step {evaluation.step}: mIoU {100 * scores.miou:.2f} % "
            f"(best {100 * evaluation.best:.2f}), {others}"
        )

    def on_end(self, status: str) -> None:
        """Print how the training ended, and after how long."""
        if self._live is not None:
            self._live.stop()
        if self._file is not None:
            self._print(f"{status} after {duration(self._clock() - self._start[0])}")

    def _position(self, step: int) -> str:
        """Step, latest rate and time left, which counts evaluations in."""
        now = self._clock()
        width = len(str(self._steps))
        rate = statistics.harmonic_mean(self._rates)
        overall = _rate(self._start, (now, step))
        left = duration((self._steps - step) / overall) if overall else "-"
        return (
            f"{step:{width}}/{self._steps} {100 * step // self._steps:3d} %"
            f"  {rate:.3g} it/s  ETA {left}{overload()}"
        )

    def _print(self, line: str) -> None:
        self._write_log(line)
        self._console.print(Text(line))

    def _show(self, line: str) -> None:
        if self._live is None:
            self._console.print(Text(line))
        else:
            text = Text(line, style="cyan", no_wrap=True, overflow="ellipsis")
            self._live.update(text, refresh=True)

    def _write_log(self, line: str) -> None:
        try:
            with self._file.open("a") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {line}\n")
        except OSError as error:
            # The checkpoint reports a full disk; a lost line does no harm.
            log.debug("%s", error)


def console(stream: Stream) -> Console:
    """Prints to a terminal, in colour unless NO_COLOR is set, or to a pipe, without wrapping."""
    terminal = stream.isatty()
    return Console(
        file=stream,
        force_terminal=terminal,
        soft_wrap=not terminal,
        highlight=False,
        markup=False,
        emoji=False,
    )


def last_position(folder: Path, *, since: float = 0.0) -> str:
    """How far the stage of a run's ``folder`` is that was logged last, such as "source 50/200".

    "" if none has logged after ``since``, in seconds since the epoch.
    """
    try:
        logs = [(path.stat().st_mtime, path) for path in folder.glob(f"*/{LOG}")]
        changed, latest = max(logs, default=(-math.inf, folder))
        if changed < since or not logs:
            return ""
        with latest.open("rb") as file:
            file.seek(max(0, latest.stat().st_size - TAIL))
            found = POSITION.findall(file.read().decode(errors="replace"))
    except OSError:
        # The stage was moved aside meanwhile.
        return ""
    return f"{latest.parent.name} {found[-1]}" if found else ""


def overload() -> str:
    """A remark if more processes want to run than there are cores, which slows all of them."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    return f"  (overloaded: load {load:.1f} on {cores} cores)" if load > cores + 0.5 else ""


def duration(seconds: float) -> str:
    """Seconds as a short text: 8s, 3m05s, 2h07m, 4d03h."""
    whole = round(seconds)
    if whole >= 86400:
        return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"
    if whole >= 3600:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    if whole >= 60:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole}s"


def _rate(since: tuple[float, int], now: tuple[float, int]) -> float:
    seconds, steps = now[0] - since[0], now[1] - since[1]
    return steps / seconds if seconds > 0 else 0.0
