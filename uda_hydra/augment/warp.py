"""One function that applies a view to images, labels, soft labels and feature maps.

Images change as Pillow changes them. Everything else is an index map (nearest neighbour) or a pair
of matrices, one for rows and one for columns, so no map at full resolution is ever made of a soft
label or of features.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int, Int64, Shaped
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
        index = _index(view.operations, *_stretch(map.shape[-2:], view.size, map.device))
        height, width = (side // stride * stride for side in index.shape)
        return _gather(map, index[:height:stride, :width:stride], fill)
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


# Nearest neighbours: for each pixel of the result the flat index of the pixel it shows, or -1.


def _stretch(
    shape: torch.Size, size: tuple[int, int], device: torch.device
) -> tuple[Int[Tensor, "_ _"]]:
    index = torch.arange(math.prod(shape), device=device).reshape(shape)
    return (_resized(index, *size),)


def _index(
    operations: tuple[Operation, ...], index: Int[Tensor, "h w"], stride: int = 1
) -> Int[Tensor, "_ _"]:
    for operation in operations:
        index = _moved(index, operation, stride)
    return index


def _moved(index: Int[Tensor, "h w"], operation: Operation, stride: int) -> Int[Tensor, "_ _"]:
    match operation:
        case Resize(width, height):
            return _resized(index, width // stride, height // stride)
        case Mirror():
            return index.flip(-1)
        case CutOut(x0, y0, x1, y1):
            index = index.clone()
            index[y0 // stride : y1 // stride, x0 // stride : x1 // stride] = -1
            return index
        case Crop(x, y, width, height):
            rows = torch.arange(height // stride, device=index.device) + y // stride
            columns = torch.arange(width // stride, device=index.device) + x // stride
            return _at(index, rows[:, None], columns)
    return _at(index, *_origin(index, operation, stride))


def _resized(index: Int[Tensor, "h w"], width: int, height: int) -> Int[Tensor, "_ _"]:
    if index.shape == (height, width):
        return index
    rows, columns = (
        torch.from_numpy(_centres(old, new)).to(index.device, non_blocking=True)
        for old, new in zip(index.shape, (height, width), strict=True)
    )
    return index[rows[:, None], columns]


def _centres(old: int, new: int) -> Int64[np.ndarray, " new"]:
    """Which of ``old`` pixels lies under the centre of each of ``new`` ones."""
    # Added up and not multiplied: at a centre between two pixels Pillow's rounding decides.
    steps = np.full(new, old / new)
    steps[0] /= 2
    return np.add.accumulate(steps).astype(np.int64).clip(max=old - 1)


def _origin(
    index: Int[Tensor, "h w"], operation: Operation, stride: int
) -> tuple[Int[Tensor, ...], Int[Tensor, ...]]:
    """Row and column that each pixel shows, which may lie outside."""
    height, width = index.shape
    y = torch.arange(height, device=index.device, dtype=torch.float64)[:, None] + 0.5
    x = torch.arange(width, device=index.device, dtype=torch.float64) + 0.5
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
    index: Int[Tensor, "h w"], rows: Int[Tensor, ...], columns: Int[Tensor, ...]
) -> Int[Tensor, "_ _"]:
    """The entries at these places; -1 outside."""
    height, width = index.shape
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return index[rows.clamp(0, height - 1), columns.clamp(0, width - 1)].where(inside, -1)


def _gather(
    map: Shaped[Tensor, "*c h w"], index: Int[Tensor, "h2 w2"], fill: int
) -> Shaped[Tensor, "*c h2 w2"]:
    seen = map.flatten(-2)[..., index.clamp(min=0).flatten()].unflatten(-1, index.shape)
    return torch.where(index >= 0, seen, torch.as_tensor(fill, dtype=map.dtype))


# Bilinear maps: one matrix for rows, one for columns, as long as the operations are separable.


def _smooth(
    map: Float[Tensor, "*c h w"], view: View, kind: str, stride: int, fill: int
) -> Float[Tensor, "*c _ _"]:
    step = 1 if kind == "soft" else stride
    separable = _separable(view)
    width, height = view.size
    if kind == "soft":
        operations = (Resize(width, height), *view.operations[:separable])
    else:
        operations = view.operations[:separable]
    rows = columns = None
    for operation in operations:
        columns, rows = _lines(operation, columns, rows, map, step)
    if kind == "soft" and stride > 1:
        rows, columns = (_bilinear(lines, len(lines) // stride) for lines in (rows, columns))
    if rows is not None:
        with torch.autocast(map.device.type, enabled=False):
            map = (rows.to(map.dtype) @ map) @ columns.to(map.dtype).T
    rest = view.operations[separable:]
    if not rest:
        return map
    shape = map.shape[-2:]
    index = torch.arange(math.prod(shape), device=map.device).reshape(shape)
    return _gather(map, _index(rest, index, stride), fill)


def _separable(view: View) -> int:
    """How many operations come before the first that is neither resizing, crop nor mirror."""
    for number, operation in enumerate(view.operations):
        if not isinstance(operation, Resize | Crop | Mirror):
            if any(isinstance(later, Resize) for later in view.operations[number:]):
                raise ValueError("soft maps cannot be resized after a rotation or shear of them")
            return number
    return len(view.operations)


def _lines(
    operation: Operation,
    columns: Float[Tensor, "_ _"] | None,
    rows: Float[Tensor, "_ _"] | None,
    map: Tensor,
    stride: int,
) -> tuple[Float[Tensor, "_ _"], Float[Tensor, "_ _"]]:
    """The matrices with one operation more."""
    if rows is None or columns is None:
        rows, columns = (
            torch.eye(side, device=map.device, dtype=torch.float64) for side in map.shape[-2:]
        )
    match operation:
        case Resize(width, height):
            rows = _bilinear(rows, height // stride)
            columns = _bilinear(columns, width // stride)
        case Crop(x, y, width, height):
            rows = _window(rows, y // stride, height // stride)
            columns = _window(columns, x // stride, width // stride)
        case Mirror():
            columns = columns.flip(0)
    return columns, rows


def _bilinear(lines: Float[Tensor, "old k"], new: int) -> Float[Tensor, "new k"]:
    """The lines resized to ``new`` ones, corners aligned."""
    last = len(lines) - 1
    # Places in float32, as torch's own interpolation computes them.
    scale = torch.tensor(last / max(new - 1, 1), dtype=torch.float32)
    at = (torch.arange(new, device=lines.device, dtype=torch.float32) * scale).double()
    before = at.long().clamp(max=last)
    weight = (at - before).clamp(max=1)[:, None]
    return (1 - weight) * lines[before] + weight * lines[(before + 1).clamp(max=last)]


def _window(lines: Float[Tensor, "n k"], start: int, length: int) -> Float[Tensor, "m k"]:
    """Lines ``start`` to ``start + length``; those outside are zero."""
    before, after = max(0, -start), max(0, start + length - len(lines))
    lines = torch.nn.functional.pad(lines, (0, 0, before, after))
    return lines[start + before : start + before + length]
