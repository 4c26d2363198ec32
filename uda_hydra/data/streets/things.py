"""People, cycles, posts, lights and signs: small things, drawn on planes that face the camera."""

from __future__ import annotations

import numpy as np

from uda_hydra.data.streets import ids
from uda_hydra.data.streets.geometry import Colour, Face, Outline, Real, Shape, front, shaded
from uda_hydra.data.streets.sides import pick

_RUBBER = (26, 26, 28)
_ENAMEL = ((206, 206, 208), (34, 36, 40), (150, 34, 32), (40, 62, 112), (222, 150, 30))
_CLOTHES = (
    (34, 38, 56),
    (110, 40, 44),
    (62, 66, 70),
    (170, 160, 146),
    (48, 74, 60),
    (66, 88, 130),
    (190, 70, 60),
    (28, 28, 30),
)
_SKIN = ((206, 160, 132), (160, 112, 86), (104, 72, 56))


def person(
    rng: np.random.Generator, x: Real, z: Real, *, id: int = ids.PERSON, seat: Real = 0.0
) -> list[Shape]:
    """Someone on foot, or, ``seat`` metres up, the upper part of a rider."""
    h, face = rng.uniform(1.55, 1.9), front(x, z, 0.62)
    coat, legs, skin = pick(rng, _CLOTHES), pick(rng, _CLOTHES), pick(rng, _SKIN)
    y = seat - 0.45 * h if seat else 0.0
    spread = rng.uniform(0.02, 0.2)
    thighs: list[Outline] = [
        [(0.3, 0.5 * h), (0.52, 0.5 * h), (0.45 - spread, 0), (0.26 - spread, 0)],
        [(0.48, 0.5 * h), (0.7, 0.5 * h), (0.74 + spread, 0), (0.55 + spread, 0)],
    ]
    torso: Outline = [(0.18, 0.82 * h), (0.82, 0.82 * h), (0.76, 0.44 * h), (0.24, 0.44 * h)]
    arms: Outline = [(0.06, 0.46 * h), (0.2, 0.84 * h), (0.8, 0.84 * h), (0.94, 0.46 * h)]
    parts = [(outline, legs) for outline in thighs] + [(arms, shaded(coat, 0.8)), (torso, coat)]
    shapes = [
        face.shape([(s, max(up + y, 0.3 * seat)) for s, up in outline], id, colour)
        for outline, colour in parts
    ]
    shapes.append(face.disc(0.5, 0.91 * h + y, 0.13, id, skin))
    hair = shaded(pick(rng, _CLOTHES), 0.6)
    shapes.append(face.shape([(0.3, 0.92 * h + y), (0.7, 0.92 * h + y), (0.5, h + y)], id, hair))
    return shapes


def cycle(
    rng: np.random.Generator, kind: int, x: Real, z: Real, *, rider: bool, sideways: bool
) -> list[Shape]:
    """A bicycle or motorcycle, parked or ridden, from the side or from behind."""
    heavy = kind == ids.MOTORCYCLE
    paint = pick(rng, _ENAMEL if heavy else _CLOTHES)
    radius, length = (0.34, 2.0) if heavy else (0.36, 1.8)
    if sideways:
        shapes = _cycle_side(front(x, z, length), kind, radius, paint)
    else:
        shapes = _cycle_end(front(x, z, 0.75 if heavy else 0.5), kind, radius, paint)
    return shapes + (person(rng, x, z, id=ids.RIDER, seat=0.95) if rider else [])


def _cycle_side(face: Face, kind: int, radius: Real, paint: Colour) -> list[Shape]:
    shapes = []
    for s in (0.2, 0.8):
        shapes.append(face.disc(s, radius, radius, kind, _RUBBER))
        shapes.append(face.disc(s, radius, 0.62 * radius, kind, (112, 110, 106)))
    if kind == ids.MOTORCYCLE:
        frame: Outline = [
            (0.15, 0.35),
            (0.8, 0.35),
            (0.85, 0.6),
            (0.7, 1.0),
            (0.5, 0.85),
            (0.1, 0.8),
        ]
        shapes.append(face.shape(frame, kind, paint))
        shapes.append(face.rect(0.3, 0.6, 0.25, 0.5, kind, (70, 70, 72)))
    else:
        bars: Outline = [(0.2, 0.3), (0.5, 0.28), (0.78, 0.85), (0.72, 1.0), (0.34, 0.8)]
        shapes.append(face.shape(bars, kind, paint))
    shapes.append(face.rect(0.68, 0.78, 0.95, 1.08, kind, _RUBBER))
    shapes.append(face.rect(0.24, 0.42, 0.82, 0.94, kind, _RUBBER))
    return shapes


def _cycle_end(face: Face, kind: int, radius: Real, paint: Colour) -> list[Shape]:
    shapes = [
        face.rect(0.34, 0.66, 0, 2 * radius, kind, _RUBBER),
        face.rect(0, 1, 0.95, 1.07, kind, (60, 60, 62)),
    ]
    wide: Outline = [(0.25, 0.45), (0.75, 0.45), (0.9, 1.0), (0.1, 1.0)]
    slim: Outline = [(0.36, 0.4), (0.64, 0.4), (0.7, 1.0), (0.3, 1.0)]
    heavy = kind == ids.MOTORCYCLE
    shapes.append(face.shape(wide if heavy else slim, kind, paint))
    shapes.append(face.disc(0.5, 0.8, 0.1 if heavy else 0.06, kind, (214, 40, 34)))
    return shapes


def pole(rng: np.random.Generator, x: Real, z: Real, height: Real) -> Shape:
    """A grey post."""
    width = rng.uniform(0.13, 0.2)
    return front(x, z, width).rect(0, 1, 0, height, ids.POLE, pick(rng, ((118, 120, 122),), 0.3))


def lamp_post(rng: np.random.Generator, x: Real, z: Real, side: int) -> list[Shape]:
    """A street lamp whose arm reaches over the road."""
    height = rng.uniform(6, 8.5)
    post = pole(rng, x, z, height)
    arm = Face((x, z), (x - side * 1.8, z))
    return [
        post,
        arm.rect(0, 1, height - 0.16, height, ids.POLE, post.colour),
        arm.rect(0.6, 1, height - 0.26, height, ids.POLE, shaded(post.colour, 1.4)),
    ]


def traffic_light(rng: np.random.Generator, x: Real, z: Real) -> list[Shape]:
    """Three lamps in a dark box on a post, one of them lit."""
    low = rng.uniform(2.3, 3.0)
    shapes = [pole(rng, x, z, low + 0.3)]
    box, lit = front(x, z - 0.05, 0.5), rng.integers(3)
    shapes.append(box.rect(0, 1, low, low + 1.25, ids.LIGHT, (30, 32, 32)))
    for lamp, colour in enumerate(((40, 210, 110), (240, 180, 40), (236, 44, 36))):
        glow = colour if lamp == lit else shaded(colour, 0.25)
        shapes.append(box.disc(0.5, low + 0.23 + 0.4 * lamp, 0.17, ids.LIGHT, glow))
    return shapes


def traffic_sign(rng: np.random.Generator, x: Real, z: Real) -> list[Shape]:
    """A plate of one of the usual shapes on a post."""
    low, kind = rng.uniform(2.0, 2.6), rng.integers(4)
    face = front(x, z - 0.05, 0.9)
    shapes = [pole(rng, x, z, low + 0.5)]
    if kind == 0:  # a ban: red ring
        plates = [
            face.disc(0.5, low + 0.45, r, ids.SIGN, c)
            for r, c in ((0.45, (196, 30, 34)), (0.3, (232, 232, 230)))
        ]
    elif kind == 1:  # a warning: red triangle
        plates = [
            face.shape([(0.5 - s, low + b), (0.5 + s, low + b), (0.5, low + t)], ids.SIGN, c)
            for s, b, t, c in ((0.52, 0.0, 0.92, (200, 34, 36)), (0.3, 0.12, 0.66, (234, 232, 226)))
        ]
    elif kind == 2:  # an order: blue disc
        plates = [
            face.disc(0.5, low + 0.45, 0.45, ids.SIGN, (30, 78, 168)),
            face.rect(0.42, 0.58, low + 0.2, low + 0.7, ids.SIGN, (236, 236, 236)),
        ]
    else:  # directions: a wide yellow or white board
        board = (230, 190, 40) if rng.random() < 0.6 else (232, 232, 230)
        plates = [
            face.rect(-0.3, 1.3, low, low + 0.8, ids.SIGN, board),
            face.rect(-0.1, 0.9, low + 0.34, low + 0.46, ids.SIGN, (40, 40, 40)),
        ]
    return shapes + plates


def clutter(rng: np.random.Generator, x: Real, z: Real) -> list[Shape]:
    """A bin or an advertising column: static, and ignored by every score."""
    width, height = rng.uniform(0.5, 1.2), rng.uniform(0.9, 2.6)
    paint = tuple(rng.uniform(60, 170, 3))
    face = front(x, z, width)
    return [
        face.rect(0, 1, 0, height, ids.STATIC, paint),
        face.rect(-0.08, 1.08, height - 0.15, height, ids.STATIC, shaded(paint, 0.6)),
    ]
