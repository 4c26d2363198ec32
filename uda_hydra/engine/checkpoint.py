"""Checkpoints that survive a crash at any moment: atomic, checksummed, the last two kept."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uda_hydra.files import digest, write_atomically, write_text


class DamagedFile(ValueError):
    """A file whose content is not what was written."""


def _save(state: dict[str, Any], path: Path) -> None:
    """``torch.save`` with the same bytes for the same state, atomically."""

    def write(temporary: Path) -> None:
        # Given a path, torch writes its name, and so the process id, into the file.
        with temporary.open("wb") as file:
            try:
                torch.save(state, file)
            except RuntimeError as error:
                # On a full disk torch speaks of its own format, and the system in the background.
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from error
                raise

    write_atomically(path, write, size=_size(state))


def _interned(state: object) -> object:
    """Equal strings as one object, as where they were first written: pickle tells them apart."""
    if isinstance(state, dict):
        items = [(_interned(key), _interned(value)) for key, value in state.items()]
        state.clear()
        state.update(items)
    elif isinstance(state, list):
        state[:] = [_interned(value) for value in state]
    return sys.intern(state) if isinstance(state, str) else state


def _size(state: object) -> int:
    """Bytes of the tensors in nested dictionaries."""
    if isinstance(state, dict):
        return sum(_size(value) for value in state.values())
    return state.nbytes if isinstance(state, Tensor) else 0


class Checkpoints:
    """``last.pt`` and the one before it, ``previous.pt``, in one folder, with their checksums."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.last = folder / "last.pt"
        self.previous = folder / "previous.pt"
        self.next = folder / "next.pt"
        self.checksums = folder / "checksums.txt"

    def save(self, state: dict[str, Any]) -> None:
        """Write ``state`` as ``last.pt``; the former one becomes ``previous.pt``."""
        _save(state, self.next)
        # The new digest is noted before any file moves: no moment finds a good file without one.
        known = self.checksums.read_text().split() if self.checksums.exists() else []
        lines = "\n".join([digest(self.next), *known[:2]])
        write_text(self.checksums, lines + "\n")
        if self.last.exists():
            self.last.replace(self.previous)
        self.next.replace(self.last)

    def save_best(self, state: dict[str, Any]) -> None:
        """Write ``state`` as ``best.pt``, chosen on the target's validation labels."""
        _save(state, self.folder / "best.pt")

    def intact(self, path: Path) -> bool:
        """Whether ``path`` is, byte for byte, a file that was saved here."""
        if not path.exists() or not self.checksums.exists():
            return False
        return digest(path) in self.checksums.read_text().split()

    def load(self) -> tuple[dict[str, Any] | None, str]:
        """The newest intact state (or None) and a word about what was found ("" if all is well).

        Comes before the folder is written to: what a killed process left half-written goes.
        """
        for half in self.folder.glob(".*.pt.*.tmp"):
            half.unlink()
        for path in (self.last, self.previous):
            if self.intact(path):
                state = _interned(torch.load(path, map_location="cpu", weights_only=True))
                note = "" if path == self.last else f"{self.last} is damaged; going on from {path}"
                return state, note
        damaged = [str(path) for path in (self.last, self.previous) if path.exists()]
        return None, f"damaged, starting again: {', '.join(damaged)}" if damaged else ""
