"""The world in metres (right, up, forward), flat coloured polygons in it, and the camera."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

NEAREST = 0.8
"""Points closer than this (m) are moved to this distance, which lies below the image."""

Real = int | float
Colour = tuple[Real, Real, Real]
Position = tuple[Real, Real, Real]
Outline = Sequence[tuple[Real, Real]]


class Shape(NamedTuple):
    """A polygon of one surface; later shapes hide earlier ones."""

    points: list[Position]
    id: int  # raw Cityscapes id
    colour: Colour  # RGB, 0..255, before light and air
    facing: int = 0  # -1: looks to the left, 1: to the right, 0: at the camera or up


class Camera(NamedTuple):
    """A pinhole above a road that may bend."""

    focal: float  # in image heights
    horizon: float  # in image heights from the top
    eye: float  # m above the ground
    x: float  # m right of the middle of the road
    bend: float  # sideways shift of the world, m per squared m of distance

    def project(self, points: Float[np.ndarray, "n xyz=3"]) -> Float[np.ndarray, "n uv=2"]:
        """Image positions in image heights: right of the middle, down from the top."""
        x, y, z = points.T
        z = np.maximum(z, NEAREST)
        u = self.focal * (x - self.x + self.bend * z * z) / z
        v = self.horizon + self.focal * (self.eye - y) / z
        return np.stack([u, v], axis=1)

    def before(self, u: Real, v: Real) -> Position:
        """The point one metre ahead that is seen at (u, v)."""
        x = u / self.focal + self.x - self.bend
        return (x, self.eye - (v - self.horizon) / self.focal, 1.0)


class Face(NamedTuple):
    """An upright plane from ``start`` to ``stop`` (x, z); local s runs from 0 to 1 between them."""

    start: tuple[Real, Real]
    stop: tuple[Real, Real]
    facing: int = 0

    @property
    def length(self) -> float:
        """Length of the plane in metres."""
        return math.hypot(self.stop[0] - self.start[0], self.stop[1] - self.start[1])

    def shape(self, outline: Outline, id: int, colour: Colour) -> Shape:
        """The polygon with corners (s, height in m)."""
        # Plain Python: for four corners an array costs ten times as much.
        (x0, z0), (x1, z1) = self.start, self.stop
        points = [(x0 + (x1 - x0) * s, y, z0 + (z1 - z0) * s) for s, y in outline]
        return Shape(points, id, colour, self.facing)

    def rect(self, s0: Real, s1: Real, y0: Real, y1: Real, id: int, colour: Colour) -> Shape:
        """The upright rectangle between two local positions and two heights."""
        return self.shape([(s0, y0), (s1, y0), (s1, y1), (s0, y1)], id, colour)

    def disc(self, s: Real, y: Real, radius: Real, id: int, colour: Colour) -> Shape:
        """A disc of ``radius`` metres, with twelve corners."""
        wide, turn = radius / self.length, math.pi / 6
        around = [(math.cos(k * turn), math.sin(k * turn)) for k in range(12)]
        return self.shape([(s + wide * c, y + radius * i) for c, i in around], id, colour)


def front(x: Real, z: Real, width: Real) -> Face:
    """The plane of an object that faces the camera, ``width`` metres around ``x``."""
    return Face((x - width / 2, z), (x + width / 2, z))


def flat(x0: Real, x1: Real, z0: Real, z1: Real, id: int, colour: Colour) -> Shape:
    """A rectangle on the ground, with enough corners to follow a bend."""
    z0 = max(z0, NEAREST)
    left = [(x0, 0.0, z0 * (z1 / z0) ** (k / 5)) for k in range(6)]
    right = [(x1, 0.0, z) for _, _, z in reversed(left)]
    return Shape(left + right, id, colour)


def shaded(colour: Colour, factor: Real) -> Colour:
    """The same paint, lighter or darker."""
    return (colour[0] * factor, colour[1] * factor, colour[2] * factor)
