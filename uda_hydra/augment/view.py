"""Views as values: their size, their composition, and random choices among several of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from uda_hydra.types import Crop, Operation, Resize, View

_Try = TypeVar("_Try")


def output_size(view: View) -> tuple[int, int]:
    """Width and height of what the view shows."""
    size = view.size
    for operation in view.operations:
        if isinstance(operation, Resize | Crop):
            size = (operation.width, operation.height)
    return size


def compose(first: View, second: View) -> View:
    """``second`` of what ``first`` shows, as one view."""
    if output_size(first) != second.size:
        raise ValueError(f"a view of {second.size} cannot follow one that shows {first}")
    return View(first.size, first.operations + second.operations)


def extend(view: View, *operations: Operation) -> View:
    """The view with more operations at its end."""
    return View(view.size, view.operations + operations)


def fit_inside(size: tuple[int, int], limit: tuple[int, int]) -> tuple[int, int]:
    """The largest size of the same ratio that fits in ``limit``: MMCV's rule of rounding."""
    long, short = max(limit), min(limit)
    scale = min(long / max(size), short / min(size))
    return int(size[0] * scale + 0.5), int(size[1] * scale + 0.5)


def first_accepted(tries: Iterable[_Try], accept: Callable[[_Try], bool]) -> _Try:
    """The first of ``tries`` that is accepted; if none is, the last one, unchecked."""
    chosen = None
    for chosen in tries:
        if accept(chosen):
            break
    assert chosen is not None, "no try was made"
    return chosen
