"""What a running study prints: one line for each trial that ends, and one that shows where it is.

That one is live on a terminal; in a pipe it is printed when trials begin.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from optuna.trial import FrozenTrial, TrialState
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from uda_hydra.callbacks.progress import console, duration, last_position
from uda_hydra.files import is_number, mask, printable, read_json
from uda_hydra.runs.results import RESULT
from uda_hydra.studies.queue import Job, is_interrupted, latest_attempts
from uda_hydra.studies.report.metrics import Metric
from uda_hydra.studies.spec import StudySpec
from uda_hydra.terminal import Stream

PERIOD = 1.0
"""Seconds between two looks at the running trials."""
SLACK = 1.0
"""Seconds that a file may seem older than it is: clocks differ, and a disk's may be coarse."""
BAR = 12
"""Width of the bar."""
STYLES = {"complete": "green", "failed": "bold red", "pruned": "yellow", "interrupted": "yellow"}
"""Colour of a trial's line by how the trial ended."""


def print_facts(facts: Sequence[tuple[str, str]], stream: Stream | None = None) -> None:
    """Names and texts: two columns on a terminal, lines in a pipe."""
    to = console(stream or sys.stdout)
    clean = [(mask(printable(name)), mask(printable(text))) for name, text in facts]
    if not to.is_interactive:
        to.print("\n".join(f"{name}: {text}" for name, text in clean))
        return
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", overflow="fold")
    grid.add_column(overflow="fold")
    for name, text in clean:
        grid.add_row(Text(name), Text(text))
    to.print(grid)


def shown_values(spec: StudySpec, values: Sequence[float]) -> str:
    """The objectives of a trial, with their names and units."""
    pairs = zip(spec.objectives, values, strict=True)
    return "  ".join(f"{Metric(name).name} {_with_unit(name, value)}" for name, value in pairs)


def _with_unit(name: str, value: float) -> str:
    metric = Metric(name)
    return f"{metric.show(metric.scale * value)} {metric.unit}".rstrip()


@dataclass(frozen=True)
class Standing:
    """How far a study has come, over all processes that work on it."""

    done: int
    running: int
    best: str
    """The best value of the first objective, of a single trial; "" if there is none."""
    seconds: float | None
    """The median time of a trial."""


def standing(spec: StudySpec, trials: Sequence[FrozenTrial]) -> Standing:
    """How far the study of these trials has come."""
    latest = [t for t in latest_attempts(trials).values() if not is_interrupted(t)]
    latest = [trial for trial in latest if trial.user_attrs["seed"] in spec.design.seeds]
    complete = [trial for trial in latest if trial.state == TrialState.COMPLETE]
    ended = [t for t in latest if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    # One that was continued has had a part of its time before.
    whole = [trial.duration for trial in ended if "continues" not in trial.user_attrs]
    times = [length.total_seconds() for length in whole if length is not None]
    name, direction = next(iter(spec.objectives.items()))
    best = ""
    if complete:
        values = [trial.values[0] for trial in complete]
        best = _with_unit(name, max(values) if direction == "maximize" else min(values))
    return Standing(
        done=sum(trial.state.is_finished() for trial in latest),
        running=sum(trial.state == TrialState.RUNNING for trial in latest),
        best=best,
        seconds=median(times) if times else None,
    )


class Display:
    """Shows the trials that this process runs, and the study that they belong to."""

    def __init__(
        self,
        spec: StudySpec,
        trials: Callable[[], Sequence[FrozenTrial]],
        stream: Stream | None = None,
    ) -> None:
        self._spec, self._trials = spec, trials
        self._console = console(stream or sys.stdout)
        self._elsewhere = spec.choices["hydra/launcher"] != "basic"
        self._lock = threading.RLock()
        self._standing = standing(spec, trials())
        self._running: dict[int, Job] = {}
        self._shown: set[int] = set()
        self._began = time.time()
        # Last: it asks for its line at once.
        self._live: Live | None = None
        if self._console.is_interactive and not spec.options.verbose:
            self._live = Live(
                console=self._console,
                get_renderable=self._line,
                auto_refresh=False,
                transient=True,
            )

    @contextmanager
    def live(self) -> Iterator[None]:
        """While entered, the live line is shown, and trials of other processes are looked at."""
        over = threading.Event()

        def look() -> None:
            while not over.wait(PERIOD):
                self._look()

        thread = threading.Thread(target=look, name="display", daemon=True)
        if self._live:
            self._live.start()
        if self._live or self._elsewhere:
            thread.start()
        try:
            yield
        finally:
            over.set()
            if thread.is_alive():
                thread.join(PERIOD)
            if self._live:
                self._live.stop()

    def begin(self, jobs: Sequence[Job]) -> None:
        """The trials that are launched now."""
        with self._lock:
            self._standing = standing(self._spec, self._trials())
            self._running = {job.number: job for job in jobs}
            self._shown.clear()
            self._began = time.time()
            if self._elsewhere:
                for job in jobs:
                    file = self._spec.folder / job.folder / "output.txt"
                    what = f"trial {job.number} begins: {self._spec.describe(job)}"
                    self._print(f"{what}, output: {file}")
            if jobs and not self._live:
                self._print(self._status())
            self._refresh()

    def end(self, job: Job, state: str, text: str) -> None:
        """A trial has ended; ``text`` is its values, or why there are none."""
        with self._lock:
            self._standing = standing(self._spec, self._trials())
            self._running.pop(job.number, None)
            if job.number in self._shown:
                self._shown.remove(job.number)
            else:
                self._show_end(job, state, text)
            self._refresh()

    def _show_end(self, job: Job, state: str, text: str) -> None:
        total = self._spec.design.total
        took = duration(time.time() - self._began)
        width = len(str(total))
        place = f"{self._done():>{width}}/{total}  trial {job.number:<{width}}"
        said = Text(mask(printable(f"{place}  {self._spec.describe(job)}  ")))
        said.append(mask(printable(text)), STYLES[state])
        said.append(f"  {took}", "dim")
        self._console.print(said)

    def _look(self) -> None:
        """Show the trials of other processes that have finished meanwhile, and the live line."""
        with self._lock:
            self._refresh()
            # Of one trial at a time the launcher itself returns when it has ended.
            jobs = [*self._running.values()] if len(self._running) > 1 else []
            for job in jobs:
                values = self._result(job)
                if values and job.number not in self._shown:
                    self._shown.add(job.number)
                    self._show_end(job, "complete", shown_values(self._spec, values))

    def _result(self, job: Job) -> list[float]:
        """The objectives that a running trial has written in this batch; [] if it has not."""
        path = self._spec.folder / job.folder / RESULT
        try:
            fresh = path.stat().st_mtime >= self._began - SLACK
        except OSError:
            return []
        result = (read_json(path) or {}) if fresh else {}
        values = [result.get(name) for name in self._spec.objectives]
        return values if all(map(is_number, values)) else []

    def _refresh(self) -> None:
        if self._live:
            self._live.refresh()

    def _print(self, text: str) -> None:
        self._console.print(Text(mask(printable(text))))

    def _line(self) -> Table:
        """The live line, cut to the width of the terminal."""
        grid = Table.grid(expand=True, padding=(0, 2, 0, 0))
        grid.add_column(width=BAR)
        grid.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        bar = ProgressBar(self._spec.design.total, self._done(), width=BAR)
        grid.add_row(bar, Text(mask(printable(self._status())), style="cyan"))
        return grid

    def _done(self) -> int:
        """How many trials have ended, those included that are not recorded yet."""
        return self._standing.done + len(self._shown)

    def _status(self) -> str:
        """What is done, the best so far, the time left and what runs now."""
        jobs = [job for number, job in self._running.items() if number not in self._shown]
        parts = [f"{self._done()}/{self._spec.design.total}"]
        if self._standing.best:
            parts.append(f"best {self._standing.best}")
        if (left := self._seconds_left()) is not None:
            parts.append(f"ETA {duration(left)}")
        parts += [f"{self._spec.describe(job)}{self._position(job)}" for job in jobs]
        return "  ".join(parts)

    def _seconds_left(self) -> float | None:
        if self._standing.seconds is None:
            return None
        left = self._spec.design.total - self._standing.done
        passed = time.time() - self._began
        return max(0.0, self._standing.seconds * left / max(1, self._standing.running) - passed)

    def _position(self, job: Job) -> str:
        """Where the training of a trial is, or the shared stage that it waits for."""
        since = self._began - SLACK
        own = last_position(self._spec.folder / job.folder, since=since)
        # Its folder is named by the stage and a digest.
        shared = last_position(self._spec.folder / "start", since=since)
        place = own or re.sub(r"-[0-9a-f]{8} ", " ", shared)
        return f", {place}" if place else ""
