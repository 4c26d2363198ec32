"""Files of weights that are damaged or hostile: one line with name and remedy, soon."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.damage import make_irregular
from uda_hydra.models.checkpoints import guard
from uda_hydra.models.checkpoints.export import write_ours
from uda_hydra.models.checkpoints.reading import NAMES, read_checkpoint

TENSORS = {f"backbone.layer{i}.weight": torch.rand(4, 3) for i in range(1, 5)}


def refused(path: Path) -> str:
    with pytest.raises(ValueError) as error:
        read_checkpoint(path)
    text = str(error.value)
    assert text.startswith(f"init={path}: ") and "\n" not in text
    assert text.endswith("; download or write it again")
    return text


def stored(content: bytes, path: Path, compression: int = zipfile.ZIP_STORED) -> None:
    """An archive as torch.save writes it, around a pickle of one's own."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("file/data.pkl", content)
        archive.writestr("file/byteorder", "little")
        archive.writestr("file/version", "3\n")


# Bits that changed.


def test_every_flipped_bit_of_the_numbers_is_seen(tmp_path):
    path = tmp_path / "file.pt"
    torch.save(TENSORS, path)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        spans = {entry.filename: entry.file_size for entry in archive.infolist()}
        starts = {name: whole.index(archive.read(name)) for name in spans if "/data" in name}
    for name, start in starts.items():
        for place in range(start, start + spans[name], 7):
            changed = bytearray(whole)
            changed[place] ^= 1 << place % 8
            path.write_bytes(changed)
            assert "cannot be read as weights" in refused(path)


def test_a_file_without_checksums_is_read(tmp_path):
    path = tmp_path / "file.pt"
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"method": {f"segmenter.{name}": t for name, t in TENSORS.items()}}, path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert read_checkpoint(path).tensors.keys() == TENSORS.keys()


def test_the_content_tells_what_a_file_is(tmp_path):
    write_ours(tmp_path / "ours.pth", TENSORS)
    assert read_checkpoint(tmp_path / "ours.pth").tensors.keys() == TENSORS.keys()


# Files that are none, or larger than any.


@pytest.mark.parametrize("what", ["pipe", "device", "folder", "sparse"])
@pytest.mark.parametrize("name", ["file.pth", "file.safetensors"])
def test_only_regular_files_of_bounded_size_are_opened(tmp_path, what, name):
    path = tmp_path / name
    make_irregular(path, what)
    if what == "sparse":
        with path.open("wb") as file:
            file.truncate(10**13)
    reason = "has 10000000.0 MB, and 8000.0 MB is the limit" if what == "sparse" else "not a regul"
    assert reason in refused(path)


@pytest.mark.parametrize("content", [b"", b"{", b"\x89PNG\r\n\x1a\n", b"PK\x03\x04", b"version ht"])
@pytest.mark.parametrize("name", ["file.pth", "file.safetensors"])
def test_other_files_are_refused(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    assert "cannot be read as weights" in refused(path)


# Pickles that unfold.


def nested(depth: int) -> bytes:
    """A tuple of two of the same, ``depth`` times, as a key: 2**depth values to hash."""
    body = b"".join(
        b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) for i in range(depth)
    )
    return b"\x80\x02}K\x00q\x00" + body + b"K\x01s."


def repeated(times: int) -> bytes:
    """One long text, encoded again and again."""
    text = b"X" + struct.pack("<I", 200_000) + b"a" * 200_000 + b"q\x01"
    once = b"h\x00h\x01X\x06\0\0\0latin1\x86R"
    return b"\x80\x02c_codecs\nencode\nq\x00" + text + b"](" + once * times + b"e."


BYTES = b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R."
BOMBS = {
    "nested": (nested(60), "unfolds to more than 20000000 values"),
    "repeated": (repeated(2000), "unfolds to more than 20000000 values"),
    "long": (b"\x80\x02](" + b"N" * 20_000 + b"e.", "more than 20000 operations"),
    "bytes": (BYTES, "holds a bytearray"),
    "bytes of Python 2": (BYTES.replace(b"builtins", b"__builtin__"), "holds a bytearray"),
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_unfolds_is_not_opened(tmp_path, bomb, legacy, monkeypatch):
    content, reason = BOMBS[bomb]
    path = tmp_path / "file.pth"
    monkeypatch.setattr(torch, "load", None)
    monkeypatch.setattr(guard, "MOST_OPERATIONS", 20_000)
    if legacy:
        path.write_bytes(content)
    else:
        stored(content, path)
    assert reason in refused(path)


def test_a_compressed_archive_is_not_opened(tmp_path):
    path = tmp_path / "file.pth"
    stored(bytes(10**7), path, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 20_000
    assert "is compressed (file/data.pkl)" in refused(path)


def test_an_archive_of_something_else(tmp_path):
    path = tmp_path / "file.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "text")
    assert "is an archive of something else" in refused(path)


def test_a_real_state_is_far_below_the_limits(tmp_path, monkeypatch):
    """1000 tensors with the two averages of Adam, in both forms of files."""
    names = [f"backbone.layer{i}.weight" for i in range(1000)]
    state = {
        "state_dict": OrderedDict((name, torch.zeros(2)) for name in names),
        "optimizer": {
            "state": {i: {"a": torch.zeros(2), "b": torch.zeros(2)} for i in range(1000)}
        },
    }
    path = tmp_path / "file.pth"
    monkeypatch.setattr(guard, "MOST_OPERATIONS", guard.MOST_OPERATIONS // 3)
    monkeypatch.setattr(guard, "MOST_VALUES", guard.MOST_VALUES // 20)
    for zipped in (True, False):
        torch.save(state, path, _use_new_zipfile_serialization=zipped)
        assert guard.check_torch_file(path) is zipped


# Tensors that are not what they claim.


class Call:
    """Pickled as the result of a call."""

    def __init__(self, *call: object) -> None:
        self.call = call

    def __reduce__(self) -> tuple[object, object]:
        return self.call[0], self.call[1:]


CLAIMS: dict[str, Callable[[], object]] = {
    "a view": lambda: torch.zeros(1).expand(10**6, 10**6),
    "memory": lambda: Call(torch.FloatTensor, 10**4, 10**4),
    "no storage": lambda: torch.zeros(3, device="meta"),
    "sparse": lambda: torch.sparse_coo_tensor(
        torch.zeros(1, 1), torch.ones(1), (10**12,), check_invariants=False
    ),
    "complex": lambda: torch.zeros(2, dtype=torch.complex64),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_tensor_of_other_than_stored_numbers_is_refused(tmp_path, claim):
    path = tmp_path / "file.pth"
    stream = io.BytesIO()
    torch.save({"conv1.weight": CLAIMS[claim]()}, stream)
    path.write_bytes(stream.getvalue())
    refused(path)


# Safetensors.


@pytest.mark.parametrize(
    "names",
    ["5", "null", '"text"', "{}", "[1]", "[[]]", '["a"]', "[]", "[" * 100_000, "nonsense"],
)
def test_metadata_of_the_wrong_shape(tmp_path, names):
    path = tmp_path / "file.safetensors"
    save_file(TENSORS, path, metadata={NAMES: names})
    refused(path)


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 16]}},
        {"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2**63, 2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}},
        {"a": {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}},
        {
            "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
            "b": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        },
        {"a": 5},
        {"__metadata__": {NAMES: 5}},
        [],
    ],
)
def test_headers_that_lie(tmp_path, header):
    text = json.dumps(header).encode()
    path = tmp_path / "file.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    refused(path)
    path.write_bytes(struct.pack("<Q", 2**62) + text + bytes(8))
    refused(path)


def test_a_name_cannot_command_a_terminal(tmp_path):
    path = tmp_path / "\33[31mred.pth"
    path.write_bytes(pickle.dumps(5))
    with pytest.raises(ValueError, match=r"init=.*/\\x1b\[31mred\.pth: "):
        read_checkpoint(path)
