"""What lines a street: houses, trees, hedges, walls and fences."""

from __future__ import annotations

import math

import numpy as np

from uda_hydra.data.streets import ids
from uda_hydra.data.streets.gap import Families
from uda_hydra.data.streets.geometry import Colour, Face, Real, Shape, front, shaded

_PLASTER = (
    (186, 172, 148),
    (150, 98, 80),
    (146, 146, 148),
    (204, 202, 196),
    (194, 168, 116),
    (176, 138, 122),
    (126, 118, 106),
)
_GLASS = (62, 72, 84)
_ROOFS = ((112, 66, 56), (84, 80, 80), (96, 74, 62))
_LEAVES = ((66, 92, 44), (54, 80, 42), (84, 104, 52), (74, 98, 58))
_AUTUMN = ((148, 104, 40), (128, 66, 40), (164, 132, 52), (104, 80, 56))
_BARK = (78, 64, 52)

_AROUND = [(math.cos(k * math.pi / 9), math.sin(k * math.pi / 9)) for k in range(18)]


def pick(rng: np.random.Generator, colours: tuple[Colour, ...], spread: Real = 0.12) -> Colour:
    """One of the colours, a little lighter or darker."""
    return shaded(colours[rng.integers(len(colours))], 1 + rng.uniform(-spread, spread))


def house(
    rng: np.random.Generator,
    families: Families,
    x: Real,
    z0: Real,
    z1: Real,
    side: int,
    storeys: int,
) -> list[Shape]:
    """A house whose facade runs along the street at ``x``; its gable faces the camera."""
    paint, roof = pick(rng, _PLASTER), pick(rng, _ROOFS)
    top = 3.2 * storeys + 0.6
    gable = front(x + side * 6, z0, 12)
    facade = Face((x, z0), (x, z1), -side)
    panes = _ribbons if rng.random() < families.ribbons else _windows
    shapes = [gable.rect(0, 1, 0, top, ids.BUILDING, shaded(paint, 0.92))]
    shapes += panes(rng, gable, storeys, every=3.4)
    shapes.append(facade.rect(0, 1, 0, top, ids.BUILDING, paint))
    ridge = top + rng.uniform(0.2, 2)
    if rng.random() < families.gabled:  # a pitched roof, whose slope the facade carries
        ridge = top + rng.uniform(3.5, 5.5)
        slope = [(0, top), (1, top), (0.5, ridge)]
        shapes.append(gable.shape(slope, ids.BUILDING, shaded(paint, 0.85)))
    shapes.append(facade.rect(0, 1, top - 0.5, ridge, ids.BUILDING, roof))
    if z0 < 60:
        shapes += panes(rng, facade, storeys, every=rng.uniform(2.2, 3.4))
    if rng.random() < 0.5:  # a shop: dark front below a coloured band
        shapes.append(facade.rect(0.04, 0.96, 0.4, 2.7, ids.BUILDING, shaded(_GLASS, 0.9)))
        band = tuple(rng.uniform(50, 200, 3))
        shapes.append(facade.rect(0.02, 0.98, 2.7, 3.3, ids.BUILDING, band))
    return shapes


def _windows(rng: np.random.Generator, face: Face, storeys: int, every: Real) -> list[Shape]:
    """Rows of panes, one row a storey, some with a light frame."""
    columns = max(1, int(face.length / every))
    pane, frame = shaded(_GLASS, rng.uniform(0.7, 1.5)), rng.random() < 0.4
    half = rng.uniform(0.22, 0.34) / columns
    shapes = []
    for storey in range(storeys):
        low = 3.2 * storey + 1.0
        for s in [(column + 0.5) / columns for column in range(columns)]:
            if frame:
                edge = 1.25 * half
                shapes.append(
                    face.rect(s - edge, s + edge, low - 0.15, low + 1.75, ids.BUILDING, (210,) * 3)
                )
            shapes.append(face.rect(s - half, s + half, low, low + 1.6, ids.BUILDING, pane))
    return shapes


def _ribbons(rng: np.random.Generator, face: Face, storeys: int, every: Real) -> list[Shape]:
    """One band of glass a storey, divided ``every`` so many metres."""
    pane, bar = shaded(_GLASS, rng.uniform(0.7, 1.5)), 0.08 / face.length
    shapes = []
    for low in (3.2 * storey + 1.0 for storey in range(storeys)):
        shapes.append(face.rect(0.02, 0.98, low, low + 1.7, ids.BUILDING, pane))
        for s in np.arange(every / face.length, 0.97, every / face.length).tolist():
            shapes.append(face.rect(s - bar, s + bar, low, low + 1.7, ids.BUILDING, (150,) * 3))
    return shapes


def foliage(
    rng: np.random.Generator,
    families: Families,
    x: Real,
    z: Real,
    y: Real,
    radius: Real,
    leaves: Colour | None = None,
) -> list[Shape]:
    """The crown of one tree of a domain, around height ``y``; ``leaves`` as given, or drawn."""
    draw = _cone if rng.random() < families.conifers else _ball
    return draw(rng, x, z, y, radius, leaves or _leaves(rng, families))


def _leaves(rng: np.random.Generator, families: Families) -> Colour:
    return pick(rng, _AUTUMN if rng.random() < families.autumn else _LEAVES)


def _cone(
    rng: np.random.Generator, x: Real, z: Real, y: Real, radius: Real, colour: Colour
) -> list[Shape]:
    """A conifer: three tiers of branches, the upper ones narrower and brighter."""
    face, foot = front(x, z, 2 * radius), max(0.3, y - 1.4 * radius)
    shapes = []
    for tier, (low, half) in enumerate(((0.0, 0.4), (0.9, 0.3), (1.8, 0.2))):
        droop = [(0.5 - half, foot + low * radius), (0.5 + half, foot + low * radius)]
        tip = (0.5, foot + (low + 2.0) * radius)
        paint = shaded(colour, 0.7 + 0.15 * tier + rng.uniform(-0.05, 0.05))
        shapes.append(face.shape([*droop, tip], ids.VEGETATION, paint))
    return shapes


def _ball(
    rng: np.random.Generator, x: Real, z: Real, y: Real, radius: Real, colour: Colour
) -> list[Shape]:
    """A broad-leaved tree: a ragged ball, with darker and lighter clumps in it."""
    face = front(x, z, 2 * radius)
    shapes = [_ragged(rng, face, 0.5, y, radius, shaded(colour, 0.8))]
    for _ in range(4 if z < 50 else 1):
        s, up = 0.5 + rng.uniform(-0.25, 0.25), y + radius * rng.uniform(-0.4, 0.5)
        # Light falls from above, so higher clumps are brighter.
        bright = 1.0 + 0.3 * (up - y) / radius + rng.uniform(-0.08, 0.08)
        shapes.append(_ragged(rng, face, s, up, radius * 0.5, shaded(colour, bright)))
    return shapes


def _ragged(
    rng: np.random.Generator, face: Face, s: Real, y: Real, radius: Real, colour: Colour
) -> Shape:
    reach = radius * rng.uniform(0.78, 1.1, len(_AROUND))
    wide = 1 / face.length
    outline = [
        (s + r * wide * cos, max(0.0, y + 0.9 * r * sin))
        for r, (cos, sin) in zip(reach.tolist(), _AROUND, strict=True)
    ]
    return face.shape(outline, ids.VEGETATION, colour)


def tree(rng: np.random.Generator, families: Families, x: Real, z: Real) -> list[Shape]:
    """A street tree; trunk and crown are both vegetation."""
    height, radius = rng.uniform(3.4, 5.6), rng.uniform(1.3, 2.3)
    trunk = front(x, z, 0.32).rect(0, 1, 0, height, ids.VEGETATION, pick(rng, (_BARK,)))
    return [trunk, *foliage(rng, families, x, z, height, radius)]


def grove(
    rng: np.random.Generator, families: Families, x: Real, z0: Real, z1: Real, side: int
) -> list[Shape]:
    """A lot full of trees and bushes."""
    leaves = _leaves(rng, families)
    back = Face((x + side * 2, z0), (x + side * 2, z1), -side)
    top = rng.uniform(1.5, 3.5)
    shapes = [back.rect(0, 1, 0, top, ids.VEGETATION, shaded(leaves, 0.65))]
    for z in sorted(rng.uniform(z0, z1, max(2, int((z1 - z0) / 2.5))).tolist(), reverse=True):
        radius = rng.uniform(1.4, 3.2)
        place = x + side * rng.uniform(0.6, 3.5)
        shapes += foliage(rng, families, place, z, rng.uniform(1.0, 5.5), radius, leaves)
    return shapes


def hedge(
    rng: np.random.Generator, families: Families, x: Real, z0: Real, z1: Real, side: int
) -> list[Shape]:
    """Clipped bushes along the pavement."""
    face, top = Face((x, z0), (x, z1), -side), rng.uniform(0.8, 1.8)
    leaves = _leaves(rng, families)
    ridge = [(s, top + rng.uniform(-0.15, 0.15)) for s in np.linspace(1, 0, 16).tolist()]
    return [
        face.shape([(0, 0), (1, 0), *ridge], ids.VEGETATION, leaves),
        face.rect(0, 1, 0, 0.35 * top, ids.VEGETATION, shaded(leaves, 0.75)),
    ]


def wall(
    rng: np.random.Generator, families: Families, x: Real, z0: Real, z1: Real, side: int
) -> list[Shape]:
    """A free-standing wall with a coping and courses of stone."""
    face, top = Face((x, z0), (x, z1), -side), rng.uniform(1.3, 2.6)
    stone = pick(rng, ((150, 138, 122), (132, 128, 124), (144, 112, 96)))
    shapes = [front(x + side * 0.2, z0, 0.4).rect(0, 1, 0, top, ids.WALL, shaded(stone, 0.9))]
    shapes.append(face.rect(0, 1, 0, top, ids.WALL, stone))
    for y in np.arange(0.4, top - 0.2, 0.4).tolist():
        shapes.append(face.rect(0, 1, y, y + 0.07, ids.WALL, shaded(stone, 0.72)))
    shapes.append(face.rect(0, 1, top - 0.14, top, ids.WALL, shaded(stone, 1.25)))
    return shapes


def fence(
    rng: np.random.Generator, families: Families, x: Real, z0: Real, z1: Real, side: int
) -> list[Shape]:
    """Bars between rails: the ground of the class is what is seen between the bars."""
    face, top = Face((x, z0), (x, z1), -side), rng.uniform(1.0, 1.8)
    metal = pick(rng, ((196, 196, 192), (60, 66, 62), (120, 92, 66)))
    shapes = [face.rect(0, 1, 0, top, ids.FENCE, (98, 98, 84))]
    for s in np.linspace(0, 1, max(2, int((z1 - z0) / 0.5))).tolist():
        width = 0.08 / (z1 - z0)
        shapes.append(face.rect(s - width, s + width, 0, top, ids.FENCE, metal))
    for y in (0.15, top - 0.12):
        shapes.append(face.rect(0, 1, y, y + 0.12, ids.FENCE, metal))
    return shapes
