"""Views as values: their size, their composition, and random choices among several of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import TypeVar

import torch
from jaxtyping import UInt8
from torch import Tensor

from uda_hydra.types import IGNORE, Crop, Operation, Resize, View

_Try = TypeVar("_Try")


def output_size(view: View) -> tuple[int, int]:
    """Width and height of what the view shows."""
    size = view.size
    for operation in view.operations:
        if isinstance(operation, Resize | Crop):
            size = (operation.width, operation.height)
    return size


def extend(view: View, *operations: Operation) -> View:
    """The view with more operations at its end."""
    return View(view.size, view.operations + operations)


def fit_inside(size: tuple[int, int], limit: tuple[int, int]) -> tuple[int, int]:
    """The largest size of the same ratio that fits in ``limit``: MMCV's rule of rounding.

    For an image that stands upright the limit is turned.
    """
    long, short = max(limit), min(limit)
    scale = min(long / max(size), short / min(size))
    return int(size[0] * scale + 0.5), int(size[1] * scale + 0.5)


def first_accepted(tries: Iterable[_Try], accept: Callable[[_Try], bool]) -> _Try:
    """The first of ``tries`` that is accepted; if none is, the last one."""
    chosen = None
    for chosen in tries:
        if accept(chosen):
            break
    assert chosen is not None, "no try was made"
    return chosen


def random_scale(
    size: tuple[int, int], base: tuple[int, int], scales: list[float], random: Random
) -> tuple[int, int]:
    """A random one of ``scales`` of ``base``, of the ratio of ``size``.

    That side is drawn which ``base`` makes larger.
    """
    axis = 0 if base[0] / size[0] > base[1] / size[1] else 1
    drawn = max(1, random.randint(*(int(base[axis] * scale) for scale in scales)))
    other = max(1, int(size[1 - axis] * drawn / size[axis]))
    return (drawn, other) if axis == 0 else (other, drawn)


def random_crop(view: View, size: tuple[int, int], random: Random) -> View:
    """The view's part of ``size`` at a random place; what is too small is filled at its end."""
    shown = output_size(view)
    x, y = (random.randint(0, max(0, have - want)) for have, want in zip(shown, size, strict=True))
    return extend(view, Crop(x, y, *size))


def is_varied(label: UInt8[Tensor, "h w"], max_share: float) -> bool:
    """Whether more than one class occurs, none on ``max_share`` of the labelled pixels or more."""
    counts = torch.bincount(label.flatten().long(), minlength=IGNORE + 1)[:IGNORE]
    total = int(counts.sum())
    return int((counts > 0).sum()) > 1 and int(counts.max()) / total < max_share
