"""The ground floor: files written whole or not at all, digests, plain values, one file lock."""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

TEMPORARY = re.compile(r"\..+\.(?:([0-9a-f]{8})-)?(\d+)\.tmp")
"""Name of a file that the process with this number, of this place, has not finished writing."""
PROCESSES = Path("/proc/self/ns/pid")
"""What distinguishes the process numbers of containers; Linux only."""
DAY = 86400.0
"""Seconds after which a file counts as left half-written, whoever has begun it."""


def write_atomically(path: Path, write: Callable[[Path], object], *, size: int = 0) -> None:
    """Let ``write`` fill a temporary file next to ``path``, force it to disk, and rename it.

    Whatever happens, ``path`` is either the old file or the whole new one. Raises OSError naming
    the folder when the disk is full or not writable; ``size`` is about how many bytes it takes.
    """
    temporary = path.with_name(f".{path.name}.{_place()}-{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        raise OSError(
            f"cannot write {path.name} into {path.parent} ({_reason(error, path.parent, size)}); "
            "what was there before is untouched. Free some space or make the folder writable, then "
            "start the same command again."
        ) from error


def remove_leftovers(folder: Path, *, below: bool = False) -> None:
    """Remove the files in ``folder`` that killed processes left half-written.

    Those of other machines and containers, whose processes are not known here, are left for a day.
    ``below`` includes all folders in it. Call it only as the one who writes there.
    """
    for path in folder.rglob(".*.tmp") if below else folder.glob(".*.tmp"):
        match = TEMPORARY.fullmatch(path.name)
        if match and _is_left(path, match[1], int(match[2])):
            path.unlink(missing_ok=True)


def _is_left(path: Path, place: str | None, pid: int) -> bool:
    """Whether nobody writes a temporary file any more; those of earlier versions name no place."""
    if place in (None, _place()):
        return not _is_running(pid)
    try:
        return time.time() - path.stat().st_mtime > DAY
    except FileNotFoundError:
        return False


def _place() -> str:
    """Where process numbers have one meaning: in containers that share a folder all may be 1."""
    container = str(PROCESSES.readlink()) if PROCESSES.is_symlink() else ""
    return digest_of([socket.gethostname(), container])


def _is_running(pid: int) -> bool:
    """Whether this machine has a process of this number."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return pid > 0


def move_aside(path: Path) -> Path:
    """Rename a file or folder to ``<name>.before-<n>``, n the first free number; its new path."""
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.before-{number}")):
        number += 1
    return path.rename(aside)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text))


def write_json(path: Path, values: object) -> None:
    """Write plain values atomically, as JSON; a number that is not finite becomes null."""
    write_text(path, json.dumps(_finite(values), indent=1, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    """The same plain values with None for every number that is not finite."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None where there is no such file, or it is damaged."""
    try:
        # NaN and Infinity are not JSON.
        values = json.loads(path.read_text(), parse_constant=lambda _: None)
    except (OSError, ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def _reason(error: Exception, folder: Path, size: int) -> str:
    """What the system says, and the numbers if there is too little space."""
    reason = (isinstance(error, OSError) and error.strerror) or str(error)
    free = shutil.disk_usage(folder).free if folder.is_dir() else size
    if free < size:
        return f"{reason}: it takes {size / 1e6:.1f} MB and {free / 1e6:.1f} MB are free"
    return reason


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered_digest(path: Path) -> str:
    """``digest``, computed once by this process as long as nobody writes the file."""
    state = path.stat()
    return _digest(path, state.st_mtime_ns, state.st_size)


@cache
def _digest(path: Path, modified: int, size: int) -> str:
    return digest(path)


def digest_of(value: object, *, length: int = 8) -> str:
    """The first ``length`` hexadecimal digits of the SHA-256 of plain values, as JSON has them."""
    text = json.dumps(_finite(value), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one dictionary with dotted keys; an empty mapping is a value."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        nested = isinstance(value, Mapping) and value
        result |= flat(value, f"{name}.") if nested else {name: value}
    return result


def is_number(value: object) -> bool:
    """Whether a plain value is an integer or a float; truth values are neither."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_finite(value: object) -> bool:
    """Whether a plain value is a number that is neither nan nor infinite."""
    return is_number(value) and math.isfinite(value)


def printable(text: str) -> str:
    """``text`` with control characters escaped, so that no file name can command a terminal."""
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()
        for char in text
    )


def shown_value(value: float | int | str | bool | None) -> str:
    """A value as a config has it; a float with the digits that it needs, or four if over six."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if not isinstance(value, float):
        return str(value)
    text = f"{value:.6g}"
    return text if float(text) == value else f"{value:.4g}"


def csv_cell(value: object) -> str:
    """A cell that no spreadsheet takes for a formula; a number stays, nan is left empty."""
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(value)
    text = printable(str(value))
    try:
        float(text)
    except ValueError:
        return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
    return text


def mask(text: str) -> str:
    """``text`` without the passwords of the URIs in it, nor options that are named like one."""
    # A number that ends the host is a port. Spaces are no part of a URI, but may be of a password.
    port = r"(?!\d+(?:[/?#'\"\s]|$))"
    text = re.sub(rf"(://[^\s:/@]*):{port}(?:\S*|.*)@", r"\1:***@", text)
    secret = r"([?&;][^=&;\s]*(?:password|passwd|pwd|token|secret)[^=&;\s]*=)[^&;\s]*"
    return re.sub(secret, r"\1***", text, flags=re.IGNORECASE)


def masked(value: Any) -> Any:
    """Plain nested values with every text masked."""
    if isinstance(value, Mapping):
        return {key: masked(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [masked(item) for item in value]
    return mask(value) if isinstance(value, str) else value


def quoted(line: str) -> str:
    """``key=text`` with the text quoted where Hydra's grammar would read something else in it."""
    key, _, text = line.partition("=")
    if text.isascii() and text.replace("/", "").replace("_", "").isalnum():
        return line
    # A backslash counts only before a quote, and at the end.
    escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), text)
    return f"{key}='{escaped}'"


@contextmanager
def locked(
    path: Path, *, wait: bool = True, waiting: str | None = None, per_process: bool = False
) -> Iterator[None]:
    """Hold the lock file ``path``, made if need be; the system frees it when its holder dies.

    Without ``wait`` a lock that is held raises BlockingIOError, which names the holder; with it,
    ``waiting`` is printed once, followed by the holder. ``per_process``: processes forked while the
    lock is held do not keep it when the holder is killed, and threads of one process share it.
    """
    # flock belongs to the open file, which forked workers inherit; lockf to the process.
    lock = fcntl.lockf if per_process else fcntl.flock
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            if not wait:
                raise BlockingIOError(f"another process ({holder}) holds {path}") from error
            if waiting is not None:
                print(f"{waiting} (another process, {holder}, is at work)", flush=True)
            lock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"pid {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
