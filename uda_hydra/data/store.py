"""Decoded arrays on disk, one file for each: whole and up to date, or made again.

An entry is named after its source file and that file's size and time of change, and it appears
under this name when it is complete. So the names alone show what is missing, processes need no
common index, and an interruption at any moment costs the entries that were being made.
"""

from __future__ import annotations

import math
import os
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from uda_hydra.data.pictures import unreadable
from uda_hydra.data.samples import ResizedImages
from uda_hydra.errors import UserError
from uda_hydra.files import digest_of
from uda_hydra.inputs import shown

# An entry is a CRC-32 of all that follows it, channels, height, width (little-endian, 4 bytes
# each), then the pixels plane by plane, as a network takes them.
_HEADER = 16
_PARTIAL = ".partial"
_ABANDONED_SECONDS = 3600
# File systems take names of 255 bytes, and a state and a process number are still to be added.
_LONGEST = 180


class Store:
    """One array of every sample, kept in ``folder``."""

    def __init__(
        self,
        samples: ResizedImages,
        folder: Path,
        *,
        files: Sequence[Path],
        decode: Callable[[ResizedImages, int], Tensor],
    ) -> None:
        """``decode`` is the method of ``samples`` that reads ``files``, one for each of them."""
        self.samples = samples
        self.folder = folder
        self.files = files
        self.decode = decode
        self._names: dict[int, str] = {}
        self._verified: set[int] = set()

    def read(self, index: int) -> UInt8[Tensor, "c h w"]:
        """The array of one sample; decoded from its source if its entry is missing or damaged.

        Each process compares the checksum when it first reads an entry. Doing so at the start
        would read the whole cache, and at every read it would cost more than the read itself.
        """
        if index not in self._names:
            self._names[index] = self._name(index)
        path = self.folder / self._names[index]
        try:
            pixels = _content(path, verify=index not in self._verified)
        except FileNotFoundError:
            return self.build(index)
        if pixels is None:
            print(f"cache: {shown(path)} is damaged and is made again", file=sys.stderr)
            return self.build(index)
        self._verified.add(index)
        return torch.from_numpy(pixels)

    def build(self, index: int) -> UInt8[Tensor, "c h w"]:
        """Decode one sample and keep it; ``UnreadableFile`` if that is impossible."""
        name = self._name(index)
        array = self.decode(self.samples, index)
        array = array.reshape(-1, *array.shape[-2:])
        _write(self.folder / name, array.numpy())
        self._names[index] = name
        return array

    def _name(self, index: int) -> str:
        """The entry's name as long as its source file does not change."""
        file = self.files[index]
        try:
            state = file.stat()
        except OSError as error:
            raise unreadable(file, f"cannot be read ({error.strerror})") from error
        return f"{self._place(file)}@{state.st_size}-{state.st_mtime_ns}"

    def missing(self) -> dict[int, Path]:
        """Samples without an entry, and its path; looks at every source file and opens none."""
        present = set(_listed(self.folder))
        self._names = {index: self._name(index) for index in range(len(self.files))}
        return {i: self.folder / name for i, name in self._names.items() if name not in present}

    def sweep(self) -> None:
        """Delete entries of former states of the files, and what dead processes began."""
        places = {self._place(file) for file in self.files}
        current = {self._name(index) for index in range(len(self.files))}
        for name in _listed(self.folder):
            path = self.folder / name
            # Other processes write entries and delete stale ones at the same time.
            with suppress(FileNotFoundError):
                if name.endswith(_PARTIAL):
                    stale = time.time() - path.stat().st_mtime > _ABANDONED_SECONDS
                else:
                    stale = name.rpartition("@")[0] in places and name not in current
                if stale:
                    path.unlink()

    def part(self, indices: Sequence[int]) -> Store:
        """The same for some of the samples."""
        files = [self.files[index] for index in indices]
        return Store(self.samples.part(indices), self.folder, files=files, decode=self.decode)

    def _place(self, file: Path) -> str:
        """The path below the root of the data set, as a file name; a digest of a long one."""
        place = str(file).removeprefix(f"{self.samples.images.root}{os.sep}")
        place = place.replace("%", "%25").replace("+", "%2B").replace(os.sep, "+")
        return place if len(os.fsencode(place)) < _LONGEST else digest_of(place, length=32)


def _listed(folder: Path) -> list[str]:
    # Names and not paths: making 50 000 of those takes a second.
    return os.listdir(folder) if folder.is_dir() else []  # noqa: PTH208


def _content(path: Path, *, verify: bool) -> UInt8[np.ndarray, "c h w"] | None:
    """The pixels of an entry; None if they are not what was written.

    Read and not memory-mapped: one copy from the system's page cache either way, in 50 us where
    mapping 1.5 MB takes 130, and a failing disk raises an error where a map kills the process.
    """
    content = np.fromfile(path, np.uint8)
    if content.size < _HEADER:
        return None
    checksum, *shape = content[:_HEADER].view("<u4").tolist()
    if content.size != _HEADER + math.prod(shape):
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
