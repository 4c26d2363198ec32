"""Decoded arrays on disk, one file for each: whole and up to date, or made again.

An entry is named after its source file and that file's size and time of change, and it appears
under this name when it is complete. So the name alone tells what is missing, processes need no
common index, and an interruption at any moment costs the entries that were being made.
"""

from __future__ import annotations

import os
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from uda_hydra.data.readers import UnreadableFile
from uda_hydra.data.samples import Resized
from uda_hydra.errors import UserError

# An entry is a CRC-32 of all that follows it, channels, height, width (little-endian, 4 bytes
# each), then the pixels plane by plane: reading it is one copy.
_HEADER = 16
_PARTIAL = ".partial"
_ABANDONED_SECONDS = 3600


class Store:
    """One array of every sample, kept in ``folder``."""

    def __init__(
        self,
        samples: Resized,
        folder: Path,
        *,
        files: Sequence[Path],
        decode: Callable[[Resized, int], Tensor],
    ) -> None:
        """``decode`` is the method of ``samples`` that reads ``files``, one for each of them."""
        self.samples = samples
        self.folder = folder
        self.files = files
        self.decode = decode
        self._entries: dict[int, Path] = {}
        self._verified: set[int] = set()

    def read(self, index: int) -> UInt8[Tensor, "c h w"]:
        """The array of one sample; decoded from its source if its entry is missing or damaged.

        Each process compares the checksum when it first reads an entry. Doing so at the start
        would read the whole cache, and at every read it would cost more than the read itself.
        """
        if index not in self._entries:
            self._entries[index] = self.entry(index)
        path = self._entries[index]
        try:
            pixels = _mapped(path, verify=index not in self._verified)
        except FileNotFoundError:
            return self.build(index)
        if pixels is None:
            print(f"cache: {path} is damaged and is made again", file=sys.stderr)
            return self.build(index)
        self._verified.add(index)
        return torch.from_numpy(np.array(pixels))

    def build(self, index: int) -> UInt8[Tensor, "c h w"]:
        """Decode one sample and keep it; ``UnreadableFile`` if that is impossible."""
        path = self.entry(index)
        array = self.decode(self.samples, index)
        array = array.reshape(-1, *array.shape[-2:])
        _write(path, array.numpy())
        self._entries[index] = path
        return array

    def entry(self, index: int) -> Path:
        """Where the array of a source file belongs as long as that file does not change."""
        file = self.files[index]
        try:
            state = file.stat()
        except OSError as error:
            raise UnreadableFile(
                f"{file} cannot be read ({error.strerror}). Replace this file; "
                "task=check_data finds all such files of a data set."
            ) from error
        return self.folder / f"{self._place(file)}@{state.st_size}-{state.st_mtime_ns}"

    def missing(self) -> dict[int, Path]:
        """Samples without an entry, and its path; looks at every source file and opens none."""
        present = {path.name for path in _listed(self.folder)}
        self._entries = {index: self.entry(index) for index in range(len(self.files))}
        return {index: path for index, path in self._entries.items() if path.name not in present}

    def sweep(self) -> None:
        """Delete entries of former states of the files, and what dead processes began."""
        places = {self._place(file) for file in self.files}
        current = {self.entry(index).name for index in range(len(self.files))}
        for path in _listed(self.folder):
            if path.name.endswith(_PARTIAL):
                stale = time.time() - path.stat().st_mtime > _ABANDONED_SECONDS
            else:
                stale = path.name.rpartition("@")[0] in places and path.name not in current
            if stale:
                path.unlink(missing_ok=True)

    def part(self, indices: Sequence[int]) -> Store:
        """The same for some of the samples."""
        files = [self.files[index] for index in indices]
        return Store(self.samples.part(indices), self.folder, files=files, decode=self.decode)

    def _place(self, file: Path) -> str:
        """The path below the root of the data set, as a file name."""
        return str(file).removeprefix(f"{self.samples.images.root}{os.sep}").replace(os.sep, "+")


def _listed(folder: Path) -> list[Path]:
    return [*folder.iterdir()] if folder.is_dir() else []


def _mapped(path: Path, *, verify: bool) -> UInt8[np.ndarray, "c h w"] | None:
    """The pixels of an entry, memory-mapped; None if it is not what was written."""
    if path.stat().st_size < _HEADER:
        return None
    content = np.memmap(path, np.uint8, mode="r")
    checksum, *shape = (int(value) for value in content[:_HEADER].view("<u4"))
    if content.size != _HEADER + shape[0] * shape[1] * shape[2]:
        return None
    if verify and zlib.crc32(content[4:]) != checksum:
        return None
    return content[_HEADER:].reshape(shape)


def _write(path: Path, pixels: UInt8[np.ndarray, "c h w"]) -> None:
    """Not forced to disk: what a power cut tears fails its checksum and is made again."""
    body = np.array(pixels.shape, "<u4").tobytes() + pixels.tobytes()
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(zlib.crc32(body).to_bytes(4, "little") + body)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot write the cache {path.parent} ({error.strerror}). Free some space or choose "
            "another folder with dataset.cache_folder=..., or go without: dataset.cache=false"
        ) from error
