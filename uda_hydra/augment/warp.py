"""One function that applies a view to images, labels, soft labels and feature maps.

Images change as Pillow changes them. Of everything else, resizing, crops and mirrors are carried
out at once, on the lines of the result: each row and column is one of the map (nearest neighbour)
or a weighted sum of them. So no map at full resolution is made on the way to a crop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby, takewhile

import numpy as np
import torch
from jaxtyping import Float, Int, Real, Shaped
from torch import Tensor

from uda_hydra.augment.picture import warp_picture
from uda_hydra.types import (
    IGNORE,
    Crop,
    CutOut,
    Mirror,
    Operation,
    Resize,
    Rotate,
    Shear,
    Translate,
    View,
)

FILL = {"image": 0, "label": IGNORE, "soft": 0, "feature": 0}
"""What lies outside a picture, by the kind of the map."""
_SEPARABLE = Resize | Crop | Mirror
"""Operations that treat rows and columns apart."""


def warp(
    map: Shaped[Tensor, "*c h w"],
    view: View,
    *,
    kind: str,
    stride: int = 1,
    filter: str = "bicubic",
    fill: int | None = None,
) -> Shaped[Tensor, "*c _ _"]:
    """``map`` as ``view`` shows it, at 1/``stride`` of the view's resolution.

    kind ``image``: uint8 RGB (3, h, w) of the view's size, resized by ``filter`` (bicubic, bilinear
    or opencv), bilinear where it is rotated, sheared or translated; as Pillow does, bit for bit.

    kind ``label``: class numbers of any size, enlarged or shrunk to the view's first; always the
    nearest pixel, by Pillow's rule. At a stride: pixels 0, stride, 2 stride ... of the result,
    as many as the other kinds have.

    kind ``soft``: probabilities of any size, bilinear with aligned corners to the view's size, to
    each later one, and to 1/``stride`` of the last: methods of pseudo labels store them small.

    kind ``feature``: a map at 1/``stride`` of the view's size; every operation acts at that
    resolution. Resized bilinearly with aligned corners, else the nearest cell (ProDA's rule).

    ``fill`` is the value outside the picture and in cut-outs; ``FILL`` has the usual ones.
    """
    if kind not in FILL:
        raise ValueError(f"a map is of the kind {', '.join(FILL)}; got {kind!r}")
    fill = FILL[kind] if fill is None else fill
    if kind == "image":
        return warp_picture(map, view, filter, fill)
    if kind == "label":
        own = (Resize(*view.size),) if map.shape[-2:] != view.size[::-1] else ()
        map = _nearest(map, (*own, *view.operations), fill)
        height, width = (side // stride * stride for side in map.shape[-2:])
        return map[..., :height:stride, :width:stride]
    return _smooth(map, view, kind, stride, fill)


def warp_batch(
    maps: Shaped[Tensor, "b *c h w"],
    views: tuple[View, ...],
    *,
    kind: str,
    stride: int = 1,
    fill: int | None = None,
) -> Shaped[Tensor, "b *c _ _"]:
    """``warp`` of each map by its own view."""
    pairs = zip(maps, views, strict=True)
    return torch.stack([warp(m, v, kind=kind, stride=stride, fill=fill) for m, v in pairs])


# Nearest neighbours: each pixel of the result shows one of the map, or lies outside.


def _nearest(
    map: Shaped[Tensor, "*c h w"], operations: Sequence[Operation], fill: int, stride: int = 1
) -> Shaped[Tensor, "*c _ _"]:
    for separable, group in groupby(operations, lambda one: isinstance(one, _SEPARABLE)):
        if separable:
            sides = (torch.arange(side, device=map.device)[:, None] for side in map.shape[-2:])
            rows, columns = _lines(group, *sides, _centres, stride, outside=-1)
            map = map.index_select(-2, rows.clamp(min=0)[:, 0])
            map = map.gather(-1, columns.clamp(min=0)[:, 0].expand(*map.shape[:-1], -1))
            map = map.masked_fill_((rows < 0) | (columns < 0).T, fill)
            continue
        for operation in group:
            if isinstance(operation, CutOut):
                x0, y0, x1, y1 = (side // stride for side in operation)
                map = map.clone()
                map[..., y0:y1, x0:x1] = fill
            else:
                map = _at(map, *_origin(map, operation, stride), fill)
    return map


def _origin(
    map: Shaped[Tensor, "*c h w"], operation: Operation, stride: int
) -> tuple[Int[Tensor, ...], Int[Tensor, ...]]:
    """Row and column that each pixel shows, which may lie outside."""
    height, width = map.shape[-2:]
    y = torch.arange(height, device=map.device, dtype=torch.float64)[:, None] + 0.5
    x = torch.arange(width, device=map.device, dtype=torch.float64) + 0.5
    match operation:
        case Rotate(degrees):
            cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
            dx, dy = x - width / 2, y - height / 2
            x, y = cos * dx - sin * dy + width / 2, sin * dx + cos * dy + height / 2
        case Shear(along_x, along_y):
            x, y = x + along_x * y, y + along_y * x
        case Translate(by_x, by_y):
            x, y = x + by_x // stride, y + by_y // stride
        case _:
            raise TypeError(f"{operation} is not an operation of a view")
    return y.floor().long(), x.floor().long()


def _at(
    map: Shaped[Tensor, "*c h w"], rows: Int[Tensor, ...], columns: Int[Tensor, ...], fill: int
) -> Shaped[Tensor, "*c _ _"]:
    """What lies at these places; ``fill`` outside."""
    height, width = map.shape[-2:]
    outside = (rows < 0) | (rows >= height) | (columns < 0) | (columns >= width)
    index = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    seen = map.flatten(-2).index_select(-1, index.flatten()).unflatten(-1, index.shape)
    return seen.masked_fill_(outside, fill)


def _centres(lines: Int[Tensor, "old 1"], new: int) -> Int[Tensor, "new 1"]:
    """Those of the lines that lie under the centre of each of ``new`` ones."""
    # Added up and not multiplied: at a centre between two pixels Pillow's rounding decides.
    steps = np.full(new, len(lines) / new)
    steps[0] /= 2
    chosen = torch.from_numpy(np.add.accumulate(steps).astype(np.int64).clip(max=len(lines) - 1))
    return lines[chosen.to(lines.device, non_blocking=True)]


# Bilinear maps: one matrix for rows, one for columns, as long as the operations are separable.


def _smooth(
    map: Float[Tensor, "*c h w"], view: View, kind: str, stride: int, fill: int
) -> Float[Tensor, "*c _ _"]:
    operations = [*takewhile(lambda one: isinstance(one, _SEPARABLE), view.operations)]
    rest = view.operations[len(operations) :]
    if any(isinstance(later, Resize) for later in rest):
        raise ValueError("soft maps cannot be resized after a rotation or shear of them")
    if kind == "soft":
        operations.insert(0, Resize(*view.size))
    if operations:
        sides = (torch.eye(n, device=map.device, dtype=torch.float64) for n in map.shape[-2:])
        step = 1 if kind == "soft" else stride
        rows, columns = _lines(operations, *sides, _bilinear, step, outside=0)
        if kind == "soft" and stride > 1:
            rows, columns = (_bilinear(lines, len(lines) // stride) for lines in (rows, columns))
        with torch.autocast(map.device.type, enabled=False):
            map = (rows.to(map.dtype) @ map) @ columns.to(map.dtype).T
    return _nearest(map, rest, fill, stride)


def _bilinear(lines: Float[Tensor, "old k"], new: int) -> Float[Tensor, "new k"]:
    """The lines resized to ``new`` ones, corners aligned."""
    last = len(lines) - 1
    # Places in float32, as torch's own interpolation computes them.
    scale = torch.tensor(last / max(new - 1, 1), dtype=torch.float32)
    at = (torch.arange(new, device=lines.device, dtype=torch.float32) * scale).double()
    before = at.long().clamp(max=last)
    weight = (at - before).clamp(max=1)[:, None]
    return (1 - weight) * lines[before] + weight * lines[(before + 1).clamp(max=last)]


# The lines of both: for each line of the result the number of one of the map, or its weights.


def _lines(
    operations: Iterable[Operation],
    rows: Real[Tensor, "_ _"],
    columns: Real[Tensor, "_ _"],
    resized: Callable[[Tensor, int], Tensor],
    stride: int,
    *,
    outside: int,
) -> tuple[Real[Tensor, "_ _"], Real[Tensor, "_ _"]]:
    for operation in operations:
        match operation:
            case Resize(width, height):
                rows, columns = resized(rows, height // stride), resized(columns, width // stride)
            case Crop(x, y, width, height):
                rows = _window(rows, y // stride, height // stride, outside)
                columns = _window(columns, x // stride, width // stride, outside)
            case Mirror():
                columns = columns.flip(0)
    return rows, columns


def _window(
    lines: Real[Tensor, "n k"], start: int, length: int, outside: int
) -> Real[Tensor, "m k"]:
    """Lines ``start`` to ``start + length``, and ``outside`` where there are none."""
    before, after = max(0, -start), max(0, start + length - len(lines))
    lines = torch.nn.functional.pad(lines, (0, 0, before, after), value=outside)
    return lines[start + before : start + before + length]
