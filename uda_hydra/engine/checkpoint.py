"""Checkpoints that survive a crash at any moment: atomic, checksummed, the last two kept."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uda_hydra.files import digest, move_aside, remove_leftovers, write_atomically, write_text


def _save(state: dict[str, Any], path: Path) -> None:
    """``torch.save`` with the same bytes for the same state, atomically."""

    def write(temporary: Path) -> None:
        # Given a path, torch writes its name, and so the process id, into the file.
        with temporary.open("wb") as file:
            try:
                torch.save(state, file)
            except RuntimeError as error:
                # On a full disk torch blames its own format; the system's error is the context.
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
    """``last.pt`` and the one before it, ``previous.pt``, with their checksums, and ``best.pt``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.last = folder / "last.pt"
        self.previous = folder / "previous.pt"
        self.next = folder / "next.pt"
        self.best = folder / "best.pt"
        self.checksums = folder / "checksums.txt"
        self._intact: dict[Path, str] | None = None

    def save(self, state: dict[str, Any]) -> None:
        """Write ``state`` as ``last.pt``; the former one becomes ``previous.pt``."""
        _save(state, self.next)
        # The new digest is noted before any file moves: no moment finds a good file without one.
        new, kept = digest(self.next), self._kept()
        lines = dict.fromkeys([new, *kept.values()])
        write_text(self.checksums, "".join(f"{line}\n" for line in lines))
        self._rename(new)

    def save_best(self, state: dict[str, Any]) -> None:
        """Write ``state`` as ``best.pt``, chosen on the target's validation labels.

        No training resumes from it, so it is kept without the optimisers.
        """
        _save({key: value for key, value in state.items() if key != "optimizers"}, self.best)

    def thin_out(self, keep: str) -> None:
        """Leave of a finished training what ``trainer.keep`` says; no moment finds nothing left."""
        if keep == "both":
            return
        if keep == "best":
            write_text(self.checksums, f"{digest(self.best)}\n")
            self.last.unlink(missing_ok=True)
        else:
            if keep == "weights":
                self._drop_optimizers()
            self.best.unlink(missing_ok=True)
        self.previous.unlink(missing_ok=True)
        self._intact = None

    def _drop_optimizers(self) -> None:
        state = _interned(torch.load(self.last, map_location="cpu", weights_only=True))
        state.pop("optimizers", None)
        _save(state, self.next)
        write_text(self.checksums, f"{digest(self.last)}\n{digest(self.next)}\n")
        self.next.replace(self.last)

    def is_finished(self) -> bool:
        """Whether a finished training's checkpoint is intact: the last, or the best left alone."""
        return self.intact(self.last) or self.intact(self.best)

    def intact(self, path: Path) -> bool:
        """Whether ``path`` is, byte for byte, a file that was saved here."""
        return path.is_file() and digest(path) in self._noted()

    def load(self) -> tuple[dict[str, Any] | None, str]:
        """The newest intact state (or None) and a word about what was found ("" if all is well).

        Comes before the folder is written to: a save that was cut short is finished if all of the
        new file is there, and what is half-written is removed. Files are moved aside if none is
        intact.
        """
        remove_leftovers(self.folder, below=True)
        self._intact = None
        if self.intact(self.next):
            self._rename(digest(self.next))
        for path in (self.last, self.previous):
            if path in self._kept():
                state = _interned(torch.load(path, map_location="cpu", weights_only=True))
                note = "" if path == self.last else f"{self.last} is damaged; going on from {path}"
                return state, note
        damaged = [path for path in (self.last, self.previous) if path.exists()]
        kept = ", ".join(str(move_aside(path)) for path in damaged)
        return None, f"damaged, starting again; the former files are {kept}" if damaged else ""

    def _kept(self) -> dict[Path, str]:
        """Those of the two files that are intact, with their digests; read once."""
        if self._intact is None:
            known = self._noted()
            files = (path for path in (self.last, self.previous) if path.is_file())
            found = {path: digest(path) for path in files}
            self._intact = {path: value for path, value in found.items() if value in known}
        return self._intact

    def _noted(self) -> list[str]:
        """The digests of the files that were saved here."""
        if not self.checksums.is_file():
            return []
        return self.checksums.read_text(errors="replace").split()

    def _rename(self, new: str) -> None:
        """Make ``next.pt``, of digest ``new``, the last; a damaged one never becomes previous."""
        kept = self._kept()
        if self.last in kept:
            self.last.replace(self.previous)
            kept[self.previous] = kept.pop(self.last)
        self.next.replace(self.last)
        kept[self.last] = new
