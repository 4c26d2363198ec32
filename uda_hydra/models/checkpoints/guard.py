"""What a torch file may cost before torch opens it: its archive intact, its pickle of bounded size.

torch.load runs no code of a file, but it follows a small pickle that unfolds into gigabytes, and it
does not compare the checksums that torch.save writes.
"""

from __future__ import annotations

import pickletools
import zipfile
from io import BufferedIOBase
from pathlib import Path

from uda_hydra.inputs import open_regular, shown

LARGEST_FILE = 8_000_000_000
"""Bytes of the largest file of weights that is opened."""
MOST_OPERATIONS = 500_000
"""Of a pickle; a network, its averages and the state of its optimizer take some 100 000."""
MOST_VALUES = 20_000_000
"""What a pickle may unfold to, in values and characters, each counted as often as it is used."""

_ZIP = b"PK\x03\x04"
_LEGACY_PICKLES = 5
"""Magic number, version, system, content, and the names of the storages that follow."""
_CHUNK = 1 << 22


class Unsafe(ValueError):
    """A file that torch should not open; the text continues a sentence."""


def check_torch_file(path: Path) -> bool:
    """Whether a file is an archive, as torch has written since 1.6.

    Raises ``Unsafe`` or InputError where it would cost too much, BadZipFile where it is damaged.
    """
    with open_regular(path, largest=LARGEST_FILE) as file:
        start = file.read(len(_ZIP))
        file.seek(0)
        if start != _ZIP:
            for _ in range(_LEGACY_PICKLES):
                _check_pickle(file)
            return False
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                _check_entry(archive, entry)
            _check_names(archive)
    return True


def _check_names(archive: zipfile.ZipFile) -> None:
    names = archive.namelist()
    if len({*names}) < len(names):
        raise Unsafe("holds two entries of one name")
    pickles = [name for name in names if name.endswith("/data.pkl")]
    if not pickles:
        raise Unsafe("is an archive of something else: torch.save writes a data.pkl")
    for name in pickles:
        with archive.open(name) as content:
            _check_pickle(content)


def _check_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """As torch.save stores it, uncompressed, and with the content that its checksum was made of."""
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
        raise Unsafe(
            f"is compressed ({shown(entry.filename)}): unpack it and save it with torch.save"
        )
    if not entry.CRC:
        # torch.serialization.set_crc32_options(False) writes none, and None compares none.
        entry.CRC = None
    with archive.open(entry) as content:
        # At the end of an entry zipfile raises BadZipFile where the checksum differs.
        while content.read(_CHUNK):
            pass


class _Value:
    """The size of a value that a pickle makes; a list grows."""

    __slots__ = ("size",)

    def __init__(self, size: int = 1) -> None:
        self.size = size


def _check_pickle(file: BufferedIOBase) -> None:
    """Follow the operations of one pickle with the sizes of values in place of the values."""
    stack: list[_Value] = []
    marks: list[int] = []
    memo: dict[int, _Value] = {}
    for count, (operation, argument, _) in enumerate(pickletools.genops(file)):
        if count > MOST_OPERATIONS:
            raise Unsafe(f"holds a pickle of more than {MOST_OPERATIONS} operations")
        name = operation.name
        if name == "GLOBAL" and argument in _BYTEARRAYS:
            # The one function that torch allows which makes much of a number.
            raise Unsafe("holds a bytearray")
        if name == "MARK":
            marks.append(len(stack))
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name in _GATHERS:
            start = marks.pop() if _GATHERS[name] is None else len(stack) - _GATHERS[name]
            inside = sum(value.size for value in stack[start:])
            del stack[start:]
            if name in _INTO:
                stack[-1].size += inside
            else:
                stack.append(_Value(1 + inside))
            if stack[-1].size > MOST_VALUES:
                raise Unsafe(f"holds a pickle that unfolds to more than {MOST_VALUES} values")
        elif operation.stack_after:
            stack.append(_Value(1 + len(argument) if isinstance(argument, str | bytes) else 1))


_BYTEARRAYS = ("builtins bytearray", "__builtin__ bytearray")
"""Its names of Python 3 and 2."""
_INTO = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "BUILD", "ADDITEMS")
"""Operations that put what they take from the stack into the value before it."""
_GATHERS = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "BINPERSID": 1, "REDUCE": 2, "NEWOBJ": 2}
_GATHERS |= {"APPEND": 1, "SETITEM": 2, "BUILD": 1}
_GATHERS |= dict.fromkeys(("TUPLE", "APPENDS", "SETITEMS", "ADDITEMS"))
"""How many values an operation takes from the stack; None for all since the last mark."""
