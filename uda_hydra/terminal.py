"""Standard streams that outlast their terminal: a training needs nobody who watches it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Protocol, TextIO, runtime_checkable


@runtime_checkable
class Stream(Protocol):
    """What text is printed to."""

    def write(self, text: str, /) -> int:
        """Write text; returns its length."""

    def flush(self) -> None:
        """Pass on what is buffered."""

    def isatty(self) -> bool:
        """Whether it is a terminal."""


class LastingStream:
    """A standard stream; once it fails, what is written to it is dropped.

    A closed terminal, a broken pipe and a full disk fail only the text, not the training.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or drop the text."""
        try:
            return self._stream.write(text)
        except OSError:
            self._drop()
            return len(text)

    def flush(self) -> None:
        """Pass on what is buffered, or drop it."""
        try:
            self._stream.flush()
        except OSError:
            self._drop()

    def _drop(self) -> None:
        # The descriptor too: other libraries write to it, and Python flushes it at its end.
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, self._stream.fileno())
        os.close(nothing)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def outlast_terminal() -> None:
    """Make the standard streams last; call before any file is opened.

    A stream that is closed from the start becomes one that drops its text; otherwise the next file
    would get its number, and with it what is printed.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    out = sys.stdout or os.fdopen(1, "w", closefd=False)
    # Whoever reads a pipe sees every line when it is printed; no character ends a training.
    out.reconfigure(line_buffering=True, errors="backslashreplace")
    sys.stdout = LastingStream(out)
    sys.stderr = LastingStream(sys.stderr or os.fdopen(2, "w", closefd=False))


class LabelledStream:
    """A stream whose lines begin with a label, each written whole; no terminal to its users."""

    def __init__(self, stream: Stream, label: str) -> None:
        self._stream, self._label = stream, label
        self._begun = ""

    def write(self, text: str) -> int:
        """Write the lines that are complete by now."""
        *lines, self._begun = f"{self._begun}{text}".split("\n")
        self._stream.write("".join(f"{self._label}{line}\n" for line in lines))
        return len(text)

    def isatty(self) -> bool:
        """False: a line that is rewritten in place would cover those of others."""
        return False

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


@contextmanager
def labelled(label: str) -> Iterator[None]:
    """Let each line that is printed begin with a label."""
    out, err = LabelledStream(sys.stdout, label), LabelledStream(sys.stderr, label)
    with redirect_stdout(out), redirect_stderr(err):
        yield


@contextmanager
def written_to(path: Path) -> Iterator[None]:
    """Append what is printed, to either stream, to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", buffering=1) as file, redirect_stdout(file), redirect_stderr(file):
        yield
