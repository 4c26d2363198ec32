"""Reading mutated files in a process that may neither hang nor take much memory."""

from __future__ import annotations

import os
import random
import resource
import signal
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch

from tests.attack.mutation import mutate
from uda_hydra.data.readers.decode import (
    read_colour_label,
    read_index_label,
    read_rgb,
    read_synthia_label,
)
from uda_hydra.data.readers.listing import read_list
from uda_hydra.errors import UserError
from uda_hydra.files import printable
from uda_hydra.models.checkpoints.loading import load_weights
from uda_hydra.models.deeplabv2 import deeplabv2

SECONDS, MEMORY = 20, 10**9
"""What reading one small file may take; the memory in bytes beyond what was there before."""


@cache
def network() -> torch.nn.Module:
    """The smallest one there is."""
    torch.manual_seed(0)
    return deeplabv2(num_classes=19, blocks=(1, 1, 1, 1), width=4)


def read_weights(path: Path) -> None:
    """Fill the network. A zip knows what it held: other weights must be refused."""
    with torch.no_grad():
        for value in network().state_dict().values():
            value.zero_()
    load_weights(network(), path)
    if path.read_bytes().startswith(b"PK"):
        torch.manual_seed(0)
        for name, value in network().state_dict().items():
            assert value.equal(meant()[name]), f"{name} has changed without a word"


@cache
def meant() -> dict[str, torch.Tensor]:
    """The weights in the intact file."""
    torch.manual_seed(0)
    return deeplabv2(num_classes=19, blocks=(1, 1, 1, 1), width=4).state_dict()


READERS: dict[str, tuple[Callable[[Path], object], tuple[type[Exception], ...]]] = {
    "image": (read_rgb, (UserError,)),
    "index label": (read_index_label, (UserError,)),
    "colour label": (read_colour_label, (UserError,)),
    "SYNTHIA label": (read_synthia_label, (UserError,)),
    "weights": (read_weights, (ValueError, OSError, UserError)),
    "list": (lambda path: read_list(path, str), (ValueError, OSError, UserError)),
}
"""What reads a file, and the errors that become one line on a terminal."""


def read_mutated(
    reader: str, valid: list[Path], folder: Path, count: int, seed: str, report: Path
) -> None:
    """Read ``count`` mutations of the ``valid`` files; what is wrong is written to ``report``.

    A file that is read as it should be is deleted again.
    """
    limit_memory()
    draw = random.Random(seed)
    with report.open("w", buffering=1) as log:
        for number in range(count):
            one, other = draw.choice(valid), draw.choice(valid)
            ending = draw.choice((one, one, one, other)).suffix
            path = folder / f"{number:05}{ending}"
            path.write_bytes(mutate(one.read_bytes(), other.read_bytes(), draw))
            wrong = judge(reader, path)
            if wrong:
                log.write(f"{path}, once {one.name}: {wrong}\n")
            else:
                path.unlink()


def judge_all(reader: str, paths: list[Path], report: Path) -> None:
    """Write to ``report`` what is wrong with how ``paths`` are read."""
    limit_memory()
    with report.open("w", buffering=1) as log:
        for path in paths:
            wrong = judge(reader, path)
            if wrong:
                log.write(f"{path}: {wrong}\n")


def judge(reader: str, path: Path) -> str | None:
    """What is wrong with how a file is read; None where it is read, or refused in one line."""
    read, refusals = READERS[reader]
    signal.alarm(SECONDS)
    try:
        read(path)
    except refusals as error:
        text = str(error)
        named = path.name in text or printable(path.name) in text
        return None if named and "\n" not in text and len(text) < 1000 else f"unclear: {text!r}"
    except BaseException:
        return traceback.format_exc()
    finally:
        signal.alarm(0)
    return None


def limit_memory() -> None:
    """No more than ``MEMORY`` on top of what this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
