"""What passes have computed, on disk: one folder for each artifact, one file for each sample.

An item appears under its name when it is complete, and its checksum says whether it is still what
was written. So a process that is killed loses the item it was writing and nothing else.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import torch
from torch import Tensor

from uda_hydra.errors import UserError
from uda_hydra.files import move_aside, read_json, write_json
from uda_hydra.methods.base import Item

FORMAT = 1
"""Raise it with every change of what an item's bytes mean."""

ENCODINGS = ("exact", "float32", "float16", "uint8")
_PARTIAL = ".partial"
# Names of files are limited to 255 bytes; longer keys become folders.
_NAME_BYTES = 200
# An item is the CRC-32 of all that follows, the length of a JSON header (4 bytes each,
# little-endian), the header, then the values of each tensor one after the other.
_PREFIX = 8


class Stored(NamedTuple):
    """How an artifact keeps its items.

    ``encoding`` concerns tensors of floating point, which are read back as float32: "float16"
    rounds to 11 significant bits; "uint8" to 256 even levels from the item's smallest to its
    largest value, off by (largest - smallest) / 510 at most; "exact" keeps every dtype as it is.
    "uint8" also stores integers in one byte, which must lie in 0..255.
    """

    encoding: str = "exact"
    kind: str = "soft"
    """"soft" or "label": whether a view may interpolate the maps."""
    stride: int = 1
    """Pixels of the image for each cell of the map."""


class Artifact:
    """Items by sample key; ``identity`` are plain values that say what made them.

    Opening it moves a folder with another identity to ``<name>.before-<n>``: nothing is lost.
    Safe to hand to the workers of a data loader: it keeps no file open.
    """

    def __init__(
        self, folder: Path, *, identity: Mapping[str, Any], stored: Stored | None = None
    ) -> None:
        self.folder = folder
        self.stored = stored or Stored()
        if self.stored.encoding not in ENCODINGS:
            raise ValueError(
                f"an artifact's encoding is one of {', '.join(ENCODINGS)}, "
                f"not {self.stored.encoding!r}"
            )
        # As read back from JSON, where tuples are lists.
        self.identity = json.loads(
            json.dumps({"format": FORMAT, "encoding": self.stored.encoding} | dict(identity))
        )
        self._identity_file = folder / "identity.json"
        self._done_file = folder / "done.json"
        self._items = folder / "items"
        self._open()

    @property
    def kind(self) -> str:
        """ "soft" or "label"."""
        return self.stored.kind

    @property
    def stride(self) -> int:
        """Pixels of the image for each cell of the map."""
        return self.stored.stride

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of a finished artifact, in the order of the pass; () before."""
        keys = (read_json(self._done_file) or {}).get("keys")
        return tuple(keys) if isinstance(keys, list) else ()

    def write(self, key: str, item: Item) -> None:
        """Store one item atomically; OSError as a message if the disk is full."""
        path = self._path(key)
        temporary = path.with_name(f"{path.name[:_NAME_BYTES]}.{os.getpid()}{_PARTIAL}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                # Not forced to disk: what a power cut tears fails its checksum and is made again.
                temporary.write_bytes(_encode(item, self.stored.encoding))
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(
                f"cannot write into {self.folder} ({error.strerror}). Free some space or make the "
                "folder writable, then start the same command again: what is stored stays."
            ) from error

    def read(self, key: str) -> Item:
        """One item, verified; a damaged one is deleted, so that the next start makes it again."""
        path = self._path(key)
        content = path.read_bytes() if path.is_file() else b""
        if not _intact(content):
            path.unlink(missing_ok=True)
            raise UserError(
                f"the item {key} of {self.folder} is missing or damaged. Start the same command "
                "again: it makes this item again and resumes from the last checkpoint."
            )
        return _decode(content)

    def remove_partial(self) -> None:
        """Delete what a killed process left half-written; for the one that writes alone."""
        for partial in self._items.rglob(f"*{_PARTIAL}"):
            partial.unlink(missing_ok=True)

    def keys_missing(self, keys: Iterable[str]) -> list[str]:
        """Those without an intact item; reads every file once."""
        paths = ((key, self._path(key)) for key in keys)
        return [key for key, path in paths if not (path.is_file() and _intact(path.read_bytes()))]

    def finish(self, keys: Iterable[str]) -> None:
        """Note that the artifact is whole."""
        keys = tuple(keys)
        if self.keys != keys:
            write_json(self._done_file, {"keys": keys})

    def _open(self) -> None:
        """The folder of this very artifact."""
        if self.folder.exists():
            found = read_json(self._identity_file) or {}
            if found != self.identity:
                self._move_aside(found)
        self._items.mkdir(parents=True, exist_ok=True)
        if not self._identity_file.exists():
            write_json(self._identity_file, self.identity)

    def _move_aside(self, found: dict[str, Any]) -> None:
        aside = move_aside(self.folder)
        changed = [k for k in self.identity | found if self.identity.get(k) != found.get(k)]
        print(f"{self.folder.name}: {', '.join(changed)} changed; computing it again. "
              f"The former one is in {aside}")  # fmt: skip

    def _path(self, key: str) -> Path:
        name = quote(key, safe="")
        parts = [name[i : i + _NAME_BYTES] for i in range(0, len(name), _NAME_BYTES)] or [""]
        return self._items.joinpath(*parts[:-1], f"{parts[-1]}.item")


def reopened(folder: Path, *, kind: str, stride: int) -> Artifact | None:
    """The artifact in a folder, to be read; None if there is none. See ``Stored``."""
    identity = read_json(folder / "identity.json")
    # A training's folder has a file of this name too.
    if identity is None or "encoding" not in identity:
        return None
    stored = Stored(identity["encoding"], kind, stride)
    return Artifact(folder, identity=identity, stored=stored)


def _intact(content: bytes) -> bool:
    """Whether the bytes of an item are those that were written."""
    return len(content) >= _PREFIX and zlib.crc32(content[4:]) == int.from_bytes(
        content[:4], "little"
    )


def _encode(item: Item, encoding: str) -> bytes:
    tensors = {"": item} if isinstance(item, Tensor) else item
    header, values = [], []
    for name, tensor in tensors.items():
        kept, facts = _compact(tensor.detach().cpu(), encoding)
        dtype = str(kept.dtype).removeprefix("torch.")
        header.append({"name": name, "shape": [*kept.shape], "dtype": dtype} | facts)
        values.append(kept.contiguous().numpy().tobytes())
    head = json.dumps(header).encode()
    body = len(head).to_bytes(4, "little") + head + b"".join(values)
    return zlib.crc32(body).to_bytes(4, "little") + body


def _compact(tensor: Tensor, encoding: str) -> tuple[Tensor, dict[str, Any]]:
    """The tensor as it is stored, and what its header says about reading it back."""
    if not tensor.is_floating_point():
        if encoding == "uint8" and tensor.numel() and tensor.dtype != torch.bool:
            low, high = (int(value) for value in tensor.aminmax())
            if low < 0 or high > 255:
                raise ValueError(f"integers from {low} to {high} do not fit into one byte")
            tensor = tensor.to(torch.uint8)
        return tensor, {}
    if encoding == "exact":
        # NumPy knows no bfloat16; float32 holds each of its values.
        return tensor.float() if tensor.dtype == torch.bfloat16 else tensor, {}
    tensor = tensor.float()
    if encoding == "float32":
        return tensor, {}
    if encoding == "float16":
        return tensor.half(), {"decode": "float16"}
    low, high = (float(v) for v in tensor.aminmax()) if tensor.numel() else (0.0, 0.0)
    levels = (tensor.double() - low) * (255 / (high - low) if high > low else 0.0)
    return levels.round().to(torch.uint8), {"decode": "uint8", "low": low, "high": high}


def _decode(content: bytes) -> Item:
    start = _PREFIX + int.from_bytes(content[4:_PREFIX], "little")
    tensors = {}
    for entry in json.loads(content[_PREFIX:start]):
        dtype = getattr(torch, entry["dtype"])
        count = torch.Size(entry["shape"]).numel()
        size = count * dtype.itemsize
        # A copy: the bytes object is not writable and its offsets are not aligned.
        raw = torch.frombuffer(bytearray(content[start : start + size] or b"\0"), dtype=torch.uint8)
        tensor = raw[:size].view(dtype).reshape(entry["shape"])
        if entry.get("decode") == "float16":
            tensor = tensor.float()
        elif entry.get("decode") == "uint8":
            step = (entry["high"] - entry["low"]) / 255
            tensor = (tensor.double() * step + entry["low"]).float()
        tensors[entry["name"]] = tensor
        start += size
    return tensors[""] if [*tensors] == [""] else tensors
