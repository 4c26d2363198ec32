"""Starting the program under attack, waiting for it, killing it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tests.attack import program

FORK = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["tests.attack.preloaded"])
LIMIT = 120
"""Seconds after which a process counts as hanging."""


class Attacked:
    """One start of the program, in a process group of its own."""

    def __init__(
        self,
        folder: Path,
        overrides: Sequence[str],
        *,
        cold: bool = False,
        dies_before: int | None = None,
        largest: int | None = None,
        no_room_for: str | None = None,
    ) -> None:
        """Forked from a process that has imported everything, or ``cold`` as from a shell.

        ``dies_before``: it is killed before this change of a file, counted from 1. ``largest``:
        no file may have more bytes. ``no_room_for``: none whose path has this part can be written.
        """
        # Beside the folder: what is left in there is the program's.
        self.log = folder.with_name(f"{folder.name} {time.time_ns()}.log")
        self._dies_before = dies_before
        self._began = time.monotonic()
        if cold:
            self._start_cold(folder, overrides)
        else:
            arguments = (folder, [*overrides], self.log, dies_before, largest, no_room_for)
            self._process = FORK.Process(target=program.run_in, args=arguments)
            self._process.start()
        self.pid = self._process.pid

    def _start_cold(self, folder: Path, overrides: Sequence[str]) -> None:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.attack.program", *overrides],
                cwd=folder,
                stdout=log,
                stderr=log,
                env=os.environ | {"PYTHONPATH": str(program.ROOT)},
                start_new_session=True,
            )

    def wait(self, seconds: float = LIMIT) -> int | None:
        """The exit code, or None if it is still running after ``seconds``."""
        if isinstance(self._process, subprocess.Popen):
            with suppress(subprocess.TimeoutExpired):
                return self._process.wait(seconds)
            return None
        self._process.join(seconds)
        return self._process.exitcode

    def finish(self) -> int:
        """The exit code; fails if it hangs."""
        code = self.wait()
        if code is None:
            self.kill(group=True)
        assert code is not None, f"still running after {LIMIT} s:\n{self.said}"
        return code

    def kill(self, *, group: bool) -> None:
        """SIGKILL to the process, or to all of its group."""
        with suppress(ProcessLookupError):
            if group and os.getpgid(self.pid) == self.pid:
                os.killpg(self.pid, signal.SIGKILL)
            else:
                os.kill(self.pid, signal.SIGKILL)
        self.wait()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._began

    def __str__(self) -> str:
        change = f" before change {self._dies_before}" if self._dies_before else ""
        return f"{self.log.name}: killed{change}"

    @property
    def said(self) -> str:
        """All it has printed."""
        return self.log.read_text(errors="replace")


def alive_in(folder: Path) -> list[str]:
    """Command lines of the processes at work in a folder, after a grace for workers to notice."""
    limit = time.monotonic() + 15
    while (found := _at_work(folder)) and time.monotonic() < limit:
        time.sleep(0.1)
    return found


def _at_work(folder: Path) -> list[str]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cwd() == str(folder.resolve()):
                found.append(" ".join(process.cmdline()))
    return found
