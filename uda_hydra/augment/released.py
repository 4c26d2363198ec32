"""Faults of a release's label warps, for runs that are to repeat its numbers."""

from __future__ import annotations

import math

from uda_hydra.types import Operation, Translate, View


def shifted_too_far(views: tuple[View, ...], *, stride: int) -> tuple[View, ...]:
    """The views as ProDA's release applies them to labels at 1/``stride`` of the image.

    It divides a move along x by the height where the width belongs: labels of wide pictures move
    width / height times too far.
    """
    return tuple(
        View(view.size, tuple(_shifted(one, view.size, stride) for one in view.operations))
        for view in views
    )


def _shifted(operation: Operation, size: tuple[int, int], stride: int) -> Operation:
    if not isinstance(operation, Translate):
        return operation
    width, height = size
    cells = (operation.x // stride) * width / height
    # The cell under the centre that the release's grid points to.
    return Translate(stride * math.floor(cells + 0.5), operation.y)
