"""Cars, trucks, buses and trams: each a side and an end, drawn on two upright planes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from uda_hydra.data.streets import ids
from uda_hydra.data.streets.geometry import Colour, Face, Outline, Real, Shape, flat, shaded
from uda_hydra.data.streets.sides import pick

_GLASS, _RUBBER, _SHADOW = (46, 54, 64), (26, 26, 28), (52, 52, 54)
_CAR_PAINT = (
    (206, 206, 208),
    (34, 36, 40),
    (150, 154, 158),
    (150, 34, 32),
    (40, 62, 112),
    (92, 96, 98),
    (188, 182, 160),
)
_BUS_PAINT = ((196, 60, 40), (222, 178, 40), (226, 222, 212), (60, 110, 150))
_TRAM_PAINT = ((60, 132, 70), (214, 196, 70), (196, 44, 44), (232, 230, 224))
_CARGO = ((222, 222, 218), (196, 190, 176), (70, 100, 150), (150, 150, 150), (186, 90, 50))


class Body(NamedTuple):
    """Size of a vehicle in metres."""

    width: float
    length: float
    height: float


_BODIES = {
    ids.CAR: Body(1.8, 4.3, 1.5),
    ids.TRUCK: Body(2.5, 7.5, 3.3),
    ids.BUS: Body(2.55, 11.5, 3.1),
    ids.TRAIN: Body(2.6, 24.0, 3.5),
}

# Side view, tail at s = 0, where the roof begins at once: a hatchback, so that side and tail, which
# are drawn on two planes, leave no gap. Heights are shares of the body's.
_CAR_SIDE = ((0, 0.2), (1, 0.2), (1, 0.56), (0.74, 0.64), (0.58, 1), (0.05, 0.98), (0, 0.62))


def vehicle(
    rng: np.random.Generator,
    kind: int,
    x: Real,
    z: Real,
    eye: Real,
    size: Real,
    *,
    crossing: bool = False,
) -> list[Shape]:
    """A vehicle whose nearest point is ``z`` ahead; ``eye`` is the camera's x.

    ``size`` multiplies the usual size. ``crossing``: it drives across the image and shows its side.
    """
    body = Body(*(size * side for side in _BODIES[kind]))
    across, along = (body.length, body.width) if crossing else (body.width, body.length)
    near = Face((x - across / 2, z), (x + across / 2, z))
    edge, facing = (near.start[0], -1) if x > eye else (near.stop[0], 1)
    depth = Face((edge, z), (edge, z + along), facing)
    side, end = (near, depth) if crossing else (depth, near)
    draw_side, draw_end, paints = _DRAWN[kind]
    paint = pick(rng, paints)
    shapes = [flat(x - across / 2, x + across / 2, z - 0.1, z + along, ids.ROAD, _SHADOW)]
    views = [draw_side(rng, side, body, paint), draw_end(rng, end, body, shaded(paint, 0.94))]
    # The plane that spans the image hides part of the one that leads away.
    for view in reversed(views) if crossing else views:
        shapes += view
    return shapes


def _wheels(face: Face, id: int, radius: Real, places: tuple[Real, ...]) -> list[Shape]:
    shapes = []
    for s in places:
        shapes.append(face.disc(s, radius, radius, id, _RUBBER))
        shapes.append(face.disc(s, radius, 0.5 * radius, id, (140, 140, 142)))
    return shapes


def _car_side(rng: np.random.Generator, face: Face, body: Body, paint: Colour) -> list[Shape]:
    h = body.height
    glass: Outline = [(0.69, 0.64 * h), (0.56, 0.94 * h), (0.1, 0.92 * h), (0.06, 0.64 * h)]
    shapes = [
        face.shape([(s, y * h) for s, y in _CAR_SIDE], ids.CAR, paint),
        face.shape(glass, ids.CAR, _GLASS),
        face.rect(0.36, 0.39, 0.6 * h, 0.95 * h, ids.CAR, paint),
        face.rect(0, 1, 0.2 * h, 0.27 * h, ids.CAR, shaded(paint, 0.6)),
    ]
    return shapes + _wheels(face, ids.CAR, 0.33, (0.2, 0.81))


def _car_end(rng: np.random.Generator, face: Face, body: Body, paint: Colour) -> list[Shape]:
    h = body.height
    lamp = (190, 30, 28) if rng.random() < 0.6 else (236, 232, 210)
    roof: Outline = [(0, 0.6 * h), (1, 0.6 * h), (0.92, h), (0.08, h)]
    glass: Outline = [(0.12, 0.63 * h), (0.88, 0.63 * h), (0.83, 0.94 * h), (0.17, 0.94 * h)]
    return [
        face.rect(0.04, 0.2, 0, 0.3 * h, ids.CAR, _RUBBER),
        face.rect(0.8, 0.96, 0, 0.3 * h, ids.CAR, _RUBBER),
        face.shape(roof, ids.CAR, shaded(paint, 1.05)),
        face.rect(0, 1, 0.18 * h, 0.62 * h, ids.CAR, paint),
        face.shape(glass, ids.CAR, _GLASS),
        face.rect(0.02, 0.2, 0.42 * h, 0.55 * h, ids.CAR, lamp),
        face.rect(0.8, 0.98, 0.42 * h, 0.55 * h, ids.CAR, lamp),
        face.rect(0.36, 0.64, 0.36 * h, 0.45 * h, ids.CAR, (226, 226, 214)),
        face.rect(0, 1, 0.18 * h, 0.27 * h, ids.CAR, shaded(paint, 0.55)),
    ]


def _truck_side(rng: np.random.Generator, face: Face, body: Body, paint: Colour) -> list[Shape]:
    h, cab = body.height, pick(rng, _CAR_PAINT)
    shapes = [
        face.rect(0, 1, 0.4, 0.9, ids.TRUCK, (58, 58, 60)),
        face.rect(0.24, 1, 0.85, h, ids.TRUCK, paint),
        face.rect(0, 0.22, 0.5, 0.8 * h, ids.TRUCK, cab),
        face.rect(0.03, 0.17, 1.5, 0.74 * h, ids.TRUCK, _GLASS),
    ]
    return shapes + _wheels(face, ids.TRUCK, 0.5, (0.12, 0.72, 0.88))


def _truck_end(rng: np.random.Generator, face: Face, body: Body, paint: Colour) -> list[Shape]:
    h = body.height
    shapes = [
        face.rect(0.06, 0.26, 0, 0.9, ids.TRUCK, _RUBBER),
        face.rect(0.74, 0.94, 0, 0.9, ids.TRUCK, _RUBBER),
        face.rect(0, 1, 0.5, 0.95, ids.TRUCK, (60, 60, 62)),
        face.rect(0, 1, 0.85, h, ids.TRUCK, paint),
        face.rect(0.49, 0.51, 0.9, h - 0.1, ids.TRUCK, shaded(paint, 0.6)),
        face.rect(0, 1, h - 0.12, h, ids.TRUCK, shaded(paint, 0.7)),
    ]
    lamps = [face.rect(s, s + 0.14, 0.6, 0.8, ids.TRUCK, (196, 36, 30)) for s in (0.02, 0.84)]
    return shapes + lamps


def _coach_side(face: Face, id: int, body: Body, paint: Colour, doors: int) -> list[Shape]:
    """A long body with one band of windows, shared by bus and tram."""
    h = body.height
    shapes = [
        face.rect(0, 1, 0.25, h, id, paint),
        face.rect(0.02, 0.98, 0.47 * h, 0.8 * h, id, _GLASS),
    ]
    for s in np.linspace(0.1, 0.9, doors + 6).tolist():
        shapes.append(face.rect(s, s + 0.08 / body.length, 0.47 * h, 0.8 * h, id, paint))
    for s in np.linspace(0.12, 0.8, doors).tolist():
        door = 1.3 / body.length
        shapes.append(face.rect(s, s + door, 0.35, 0.8 * h, id, shaded(_GLASS, 0.75)))
    return shapes


def _bus_side(rng: np.random.Generator, face: Face, body: Body, paint: Colour) -> list[Shape]:
    return _coach_side(face, ids.BUS, body, paint, 3) + _wheels(face, ids.BUS, 0.48, (0.2, 0.75))


def _bus_end(rng: np.random.Generator, face: Face, body: Body, paint: Colour) -> list[Shape]:
    h = body.height
    return [
        face.rect(0.06, 0.22, 0, 0.5, ids.BUS, _RUBBER),
        face.rect(0.78, 0.94, 0, 0.5, ids.BUS, _RUBBER),
        face.rect(0, 1, 0.28, h, ids.BUS, paint),
        face.rect(0.06, 0.94, 0.42 * h, 0.8 * h, ids.BUS, _GLASS),
        face.rect(0.25, 0.75, 0.84 * h, 0.96 * h, ids.BUS, (236, 176, 60)),
        face.rect(0.04, 0.18, 0.7, 0.95, ids.BUS, (222, 70, 50)),
        face.rect(0.82, 0.96, 0.7, 0.95, ids.BUS, (222, 70, 50)),
    ]


def _tram_side(rng: np.random.Generator, face: Face, body: Body, paint: Colour) -> list[Shape]:
    shapes = _coach_side(face, ids.TRAIN, body, paint, 5)
    shapes.append(face.rect(0, 1, 0.9, 1.25, ids.TRAIN, (236, 234, 226)))
    for s in (0.33, 0.66):  # joints between the cars
        shapes.append(face.rect(s, s + 0.02, 0.3, body.height, ids.TRAIN, (40, 40, 42)))
    shapes.append(face.rect(0, 1, 0, 0.3, ids.TRAIN, (48, 46, 46)))
    return shapes


def _tram_end(rng: np.random.Generator, face: Face, body: Body, paint: Colour) -> list[Shape]:
    h = body.height
    outline: Outline = [(0.04, 0), (0.96, 0), (1, 1.2), (0.97, h), (0.03, h), (0, 1.2)]
    glass: Outline = [(0.08, 1.5), (0.92, 1.5), (0.86, 0.85 * h), (0.14, 0.85 * h)]
    return [
        face.shape([(0.3, h), (0.5, h + 1), (0.54, h + 1), (0.4, h)], ids.TRAIN, (50, 50, 52)),
        face.shape(outline, ids.TRAIN, paint),
        face.shape(glass, ids.TRAIN, _GLASS),
        face.rect(0.02, 0.98, 0.9, 1.25, ids.TRAIN, (236, 234, 226)),
        face.disc(0.2, 0.7, 0.14, ids.TRAIN, (250, 244, 214)),
        face.disc(0.8, 0.7, 0.14, ids.TRAIN, (250, 244, 214)),
    ]


_DRAWN = {
    ids.CAR: (_car_side, _car_end, _CAR_PAINT),
    ids.TRUCK: (_truck_side, _truck_end, _CARGO),
    ids.BUS: (_bus_side, _bus_end, _BUS_PAINT),
    ids.TRAIN: (_tram_side, _tram_end, _TRAM_PAINT),
}
