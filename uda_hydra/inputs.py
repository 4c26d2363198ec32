"""Files that somebody gives us: regular, of a bounded size, with names that a terminal can show."""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path

from uda_hydra.files import printable

LARGEST_TEXT = 50_000_000
"""Bytes of the largest text that is read: a list of half a million images."""


class InputError(ValueError):
    """A file that cannot be used; the text lacks a remedy."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason
        """Continues a sentence that begins with the file's name."""

    def __str__(self) -> str:
        return f"{shown(self.path)} {self.reason}"


def shown(path: object) -> str:
    """The name of a file on one line, without anything that could command a terminal."""
    return printable(str(path)).replace("\n", "\\n")


def open_regular(path: Path, *, largest: int) -> BufferedReader:
    """Open a file of at most ``largest`` bytes for reading; links are followed.

    Raises InputError for pipes, devices, sockets and folders, which may never end, without waiting
    for any of them.
    """
    try:
        # Without O_NONBLOCK opening a pipe would wait for somebody to write into it.
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(path, f"cannot be read ({reason})") from error
    state = os.fstat(number)
    problem = None
    if not stat.S_ISREG(state.st_mode):
        problem = "is not a regular file"
    elif state.st_size > largest:
        problem = f"has {state.st_size / 1e6:.1f} MB, and {largest / 1e6:.1f} MB is the limit"
    if problem is not None:
        os.close(number)
        raise InputError(path, problem)
    return os.fdopen(number, "rb")


def read_bytes(path: Path, *, largest: int) -> bytes:
    """The whole content of a regular file of 1 to ``largest`` bytes; InputError otherwise."""
    with open_regular(path, largest=largest) as file:
        try:
            # Python reserves as much memory as it is asked to read.
            content = file.read(min(os.fstat(file.fileno()).st_size, largest) + 1)
        except OSError as error:
            raise InputError(path, f"cannot be read ({error.strerror})") from error
    if not content:
        raise InputError(path, "is empty")
    if len(content) > largest:
        raise InputError(path, f"does not end after {largest / 1e6:.1f} MB")
    return content


def read_text(path: Path) -> str:
    """A text in UTF-8, with or without the mark that Windows puts first; InputError otherwise."""
    content = read_bytes(path, largest=LARGEST_TEXT)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(path, f"is not a text in UTF-8 (line {line})") from error
    if "\0" in text:
        raise InputError(path, "is not a text: it holds zero bytes")
    return text
