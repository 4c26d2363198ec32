"""One street: what lies on the ground, what lines it, what stands and moves in it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from uda_hydra.data.streets import ids, sides, things
from uda_hydra.data.streets.gap import StreetDomain, Style
from uda_hydra.data.streets.geometry import Camera, Shape, flat, front, shaded
from uda_hydra.data.streets.vehicles import vehicle

_FAR = 120.0
"""Distance (m) at which the street ends."""

_ASPHALT, _PAVING, _GRASS = (96, 96, 98), (152, 147, 142), (118, 124, 66)
_PAINT, _KERB = (206, 206, 200), (176, 174, 170)

# Chance that a scene holds such a thing at all; real streets hold them far more rarely, but a
# training set of a few hundred small images must show each class often enough to be learnt.
_CHANCE = {
    ids.TRUCK: 0.24,
    ids.BUS: 0.2,
    ids.TRAIN: 0.22,
    ids.MOTORCYCLE: 0.24,
    ids.BICYCLE: 0.34,
    ids.LIGHT: 0.5,
    ids.SIGN: 0.7,
}


class Scene(NamedTuple):
    """A street, ready to be photographed."""

    camera: Camera
    shapes: list[Shape]  # the last one is nearest
    sun: float  # -1: from the left, 1: from the right


class Plan(NamedTuple):
    """The cross-section of a street in metres; left and right mirror each other."""

    half: float  # of the road
    verge: float  # grass between kerb and pavement
    pavement: float
    junction: float | None  # where a side street crosses, m ahead

    @property
    def walk(self) -> float:
        """Inner edge of the pavement."""
        return self.half + self.verge

    @property
    def line(self) -> float:
        """Where houses begin."""
        return self.walk + self.pavement


# What stands in the street, by distance: the far is drawn before the near.
Standing = list[tuple[float, list[Shape]]]


def compose(rng: np.random.Generator, domain: StreetDomain) -> Scene:
    """Draw a street of a domain."""
    style, absent = domain.style, domain.absent
    half = style.road * rng.uniform(0.8, 1.25)
    plan = Plan(
        half,
        rng.uniform(0.9, 2.2) if rng.random() < 0.35 and ids.TERRAIN not in absent else 0.0,
        rng.uniform(2.6, 5.4),
        rng.uniform(16, 40) if rng.random() < 0.4 else None,
    )
    camera = Camera(
        style.focal * rng.uniform(0.9, 1.1),
        style.horizon + rng.normal(0, 0.02),
        style.eye * rng.uniform(0.92, 1.08),
        half * rng.uniform(0.15, 0.5),
        float(np.clip(rng.normal(0, 0.0008), -0.0016, 0.0016)),
    )
    standing: Standing = []
    shapes = _skyline(rng, domain) + _ground(rng, plan, absent)
    for side in (-1, 1):
        shapes += _building_line(rng, plan, domain, side)
        shapes += _barriers(rng, plan, domain, side)
        standing += _furniture(rng, plan, domain, side)
        standing += _pavement_life(rng, plan, style, side)
    standing += _traffic(rng, plan, style, camera.x, absent)
    for _, thing in sorted(standing, key=lambda pair: -pair[0]):
        shapes += thing
    if rng.random() < style.hood:
        shapes.append(_hood(rng, camera))
    return Scene(camera, shapes, rng.uniform(-1, 1))


def _skyline(rng: np.random.Generator, domain: StreetDomain) -> list[Shape]:
    """Roofs and trees that close the view at the end of the street."""
    shapes = []
    for x in np.arange(-90, 90, 12.0).tolist():
        if rng.random() < 0.5:
            height, paint = rng.uniform(6, 16), shaded((150, 146, 140), rng.uniform(0.8, 1.15))
            shapes.append(front(x, _FAR + 5, 15).rect(0, 1, 0, height, ids.BUILDING, paint))
        else:
            shapes += sides.foliage(rng, domain.families, x, _FAR + 5, rng.uniform(2, 6), 9.0)
    return shapes


def _ground(rng: np.random.Generator, plan: Plan, absent: frozenset[int]) -> list[Shape]:
    """Road, lanes, kerbs, pavements and grass, from the widest surface to the finest line."""
    asphalt = shaded(_ASPHALT, rng.uniform(0.85, 1.15))
    paving = shaded(_PAVING, rng.uniform(0.88, 1.12))
    shapes = [flat(-90, 90, 0.8, _FAR + 5, ids.SIDEWALK, shaded(paving, 0.95))]
    for side in (-1, 1):
        grass = ids.TERRAIN not in absent
        if grass and rng.random() < 0.45:  # gardens behind the pavement
            lawn = shaded(_GRASS, rng.uniform(0.85, 1.15))
            shapes.append(flat(side * (plan.line - 1.0), side * 60, 0.8, _FAR, ids.TERRAIN, lawn))
        shapes.append(flat(side * plan.half, side * plan.line, 0.8, _FAR, ids.SIDEWALK, paving))
        if plan.verge:
            lawn = shaded(_GRASS, rng.uniform(0.85, 1.15))
            shapes.append(flat(side * plan.half, side * plan.walk, 0.8, _FAR, ids.TERRAIN, lawn))
        kerb = side * (plan.half + 0.25)
        shapes.append(flat(side * plan.half, kerb, 0.8, _FAR, ids.SIDEWALK, _KERB))
    shapes.append(flat(-plan.half, plan.half, 0.8, _FAR, ids.ROAD, asphalt))
    if plan.junction:
        shapes.append(flat(-90, 90, plan.junction, plan.junction + 9, ids.ROAD, asphalt))
    if rng.random() < 0.4:  # the shadow of a row of houses
        edge = plan.half * rng.uniform(-0.9, -0.1)
        shapes.append(flat(-plan.half, edge, 0.8, _FAR, ids.ROAD, shaded(asphalt, 0.72)))
    return shapes + _markings(rng, plan)


def _markings(rng: np.random.Generator, plan: Plan) -> list[Shape]:
    """The dashed middle, the edges of the parking lanes, sometimes a crossing for walkers."""
    paint = shaded(_PAINT, rng.uniform(0.8, 1.15))
    shapes = [
        flat(-0.09, 0.09, z, z + 3, ids.LANE_MARKING, paint)
        for z in np.arange(rng.uniform(1, 6), 70, 6.5).tolist()
    ]
    if rng.random() < 0.5:
        for x in (-plan.half + 2.1, plan.half - 2.1):
            shapes.append(flat(x - 0.07, x + 0.07, 0.8, 80, ids.LANE_MARKING, paint))
    if plan.junction:
        z = plan.junction - 4
        for x in np.arange(-plan.half + 0.3, plan.half - 0.3, 1.0).tolist():
            shapes.append(flat(x, x + 0.5, z, z + 3, ids.LANE_MARKING, paint))
    return shapes


def _building_line(
    rng: np.random.Generator, plan: Plan, domain: StreetDomain, side: int
) -> list[Shape]:
    """Lots of houses or trees along one side, the farthest first."""
    style, families = domain.style, domain.families
    lots, z = [], 1.0
    while z < _FAR:
        length = rng.uniform(8, 18)
        if plan.junction and z + length > plan.junction - 1 and z < plan.junction + 9:
            length, z = rng.uniform(8, 14), plan.junction + 10
        x = side * (plan.line + rng.uniform(0, 0.6))
        if rng.random() < style.vegetation:
            lots.append(sides.grove(rng, families, x, z, z + length, side))
        else:
            storeys = max(1, round(style.storeys + rng.normal(0, 1.1)))
            lots.append(sides.house(rng, families, x, z, z + length - 0.2, side, storeys))
        z += length
    return [shape for lot in reversed(lots) for shape in lot]


def _barriers(rng: np.random.Generator, plan: Plan, domain: StreetDomain, side: int) -> list[Shape]:
    """At most one wall, fence or hedge along the pavement."""
    build = (None, sides.wall, sides.wall, sides.fence, sides.fence, sides.hedge)[rng.integers(6)]
    if build is None:
        return []
    z0 = rng.uniform(4, 22)
    z1 = z0 + rng.uniform(10, 34)
    if plan.junction and z0 < plan.junction + 9:
        z1 = min(z1, plan.junction - 1)
    inner = build is sides.fence and rng.random() < 0.2  # a railing between kerb and pavement
    x = side * (plan.half + 0.4 if inner else plan.line - 0.25)
    return build(rng, domain.families, x, z0, z1, side) if z1 - z0 > 3 else []


def _furniture(rng: np.random.Generator, plan: Plan, domain: StreetDomain, side: int) -> Standing:
    """Trees, lamps, lights, signs and bins along the kerb of one side."""
    standing: Standing = []
    style, kerb = domain.style, side * (plan.half + 0.6)
    lamp = rng.uniform(8, 24)
    for z in np.arange(lamp, 90, rng.uniform(20, 30)).tolist():
        standing.append((z, things.lamp_post(rng, kerb, z, side)))
    for z in rng.uniform(10, 70, rng.poisson(style.trees)).tolist():
        standing.append((z, sides.tree(rng, domain.families, side * (plan.half + 1.0), z)))
    if rng.random() < style.signs * _CHANCE[ids.LIGHT] * (1.0 if side > 0 else 0.6):
        z = plan.junction - 5 if plan.junction else rng.uniform(9, 26)
        standing.append((z, things.traffic_light(rng, kerb, z)))
    if rng.random() < style.signs * _CHANCE[ids.SIGN]:
        for z in rng.uniform(8, 32, rng.integers(1, 3)).tolist():
            standing.append((z, things.traffic_sign(rng, side * (plan.half + 0.8), z)))
    for z in rng.uniform(8, 40, rng.poisson(0.8)).tolist():
        standing.append((z, [things.pole(rng, kerb, z, rng.uniform(2.5, 5))]))
    if rng.random() < 0.3:
        z = rng.uniform(9, 30)
        standing.append((z, things.clutter(rng, side * (plan.line - 0.6), z)))
    return standing


def _pavement_life(rng: np.random.Generator, plan: Plan, style: Style, side: int) -> Standing:
    """Walkers, alone or together, and parked cycles on one side."""
    standing: Standing = []
    for _ in range(rng.poisson(style.persons / 3)):
        z, x = rng.uniform(7, 38), side * rng.uniform(plan.walk + 0.4, plan.line - 0.4)
        for _ in range(rng.integers(1, 3)):
            standing.append((z, things.person(rng, x, z)))
            x, z = x + rng.uniform(0.6, 0.9), z + rng.uniform(0.1, 0.5)
    for kind in (ids.BICYCLE, ids.MOTORCYCLE):
        if rng.random() < 0.6 * style.cycles * _CHANCE[kind]:
            z, x = rng.uniform(8, 20), side * (plan.walk + rng.uniform(0.7, 1.6))
            for step in range(rng.integers(1, 4)):
                parked = things.cycle(
                    rng, kind, x, z + 0.9 * step, rider=False, sideways=rng.random() < 0.7
                )
                standing.append((z + 0.9 * step, parked))
    return standing


def _traffic(
    rng: np.random.Generator,
    plan: Plan,
    style: Style,
    eye: float,
    absent: frozenset[int],
) -> Standing:
    """Big vehicles first, then cars where there is room, riders, and walkers who cross."""
    standing: Standing = []
    lanes = {-0.45 * (plan.half - 1.0): [], 0.45 * (plan.half - 1.0): []}
    for kind in (ids.BUS, ids.TRUCK, ids.TRAIN):
        if kind in absent or rng.random() >= style.coaches * _CHANCE[kind]:
            continue
        z = rng.uniform(13, 34)
        if plan.junction and rng.random() < 0.3:
            z = plan.junction + rng.uniform(1, 4)
            x = rng.uniform(-12, 12)
            standing.append((z, vehicle(rng, kind, x, z, eye, style.size, crossing=True)))
            continue
        x = list(lanes)[rng.integers(2)]
        if all(abs(z - other) > 16 for other in lanes[x]):
            lanes[x].append(z)
            standing.append((z, vehicle(rng, kind, x, z, eye, style.size)))
    for x, taken in lanes.items():
        for z in np.arange(rng.uniform(9, 16), 80, rng.uniform(11, 16)).tolist():
            free = all(z + 6 < big or z > big + 25 for big in taken)
            if free and rng.random() < style.traffic:
                standing.append((z, vehicle(rng, ids.CAR, x, z, eye, style.size)))
    for side in (-1, 1):
        standing += _parked(rng, plan, style, side, eye)
    standing += _riders(rng, plan, style)
    if plan.junction and rng.random() < 0.5:
        z = plan.junction + rng.uniform(1, 6)
        crossing = vehicle(rng, ids.CAR, rng.uniform(-9, 9), z, eye, style.size, crossing=True)
        standing.append((z, crossing))
    for _ in range(rng.poisson(0.35 * style.persons / 3)):
        z = plan.junction - 2.5 if plan.junction else rng.uniform(10, 30)
        standing.append((z, things.person(rng, rng.uniform(-plan.half, plan.half), z)))
    return standing


def _parked(rng: np.random.Generator, plan: Plan, style: Style, side: int, eye: float) -> Standing:
    """A row of parked cars along the kerb, or none."""
    standing: Standing = []
    if rng.random() < 0.35:
        return standing
    for z in np.arange(rng.uniform(5, 9), 70, 6.0).tolist():
        crossed = plan.junction and plan.junction - 9 < z < plan.junction + 10
        if not crossed and rng.random() < style.parked:
            car = vehicle(rng, ids.CAR, side * (plan.half - 1.05), z, eye, style.size)
            standing.append((z, car))
    return standing


def _riders(rng: np.random.Generator, plan: Plan, style: Style) -> Standing:
    """Cyclists and motorcyclists on the road."""
    standing: Standing = []
    for kind in (ids.BICYCLE, ids.MOTORCYCLE):
        for _ in range(2):
            if rng.random() < 0.5 * style.cycles * _CHANCE[kind]:
                z = rng.uniform(8, 22)
                x = rng.choice((-1, 1)) * plan.half * rng.uniform(0.1, 0.75)
                ridden = things.cycle(rng, kind, x, z, rider=True, sideways=rng.random() < 0.4)
                standing.append((z, ridden))
    return standing


def _hood(rng: np.random.Generator, camera: Camera) -> Shape:
    """The bonnet of the camera's own car, at the lower edge of the image."""
    top, wide = rng.uniform(0.9, 0.95), rng.uniform(0.9, 1.3)
    angle = np.linspace(0, np.pi, 20)
    arc = zip(wide * np.cos(angle), 1.05 - (1.05 - top) * np.sin(angle), strict=True)
    paint = shaded((44, 46, 50), rng.uniform(0.7, 2.4))
    return Shape([camera.before(u, v) for u, v in arc], ids.EGO_VEHICLE, paint)
