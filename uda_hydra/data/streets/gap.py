"""All constants of a domain: its camera's look, the layout of its streets, families of its things.

``domain(name, gap)`` moves every number of this file from ``NEUTRAL`` (gap 0: all domains are one,
but for the three classes that SYNTHIA lacks) in a straight line towards the domain's own (gap 1),
and beyond. The three parts of a gap differ in what an adaptation can do about them: statistics of
batch norm undo much of a look, and little of houses, trees and pavings that the source does not
have.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from uda_hydra.data.streets import ids


class Gap(NamedTuple):
    """How far two domains are apart, in the three ways in which streets differ."""

    look: float = 1.0
    """Photography, and the tint of each surface."""
    layout: float = 1.0
    """Camera, cross-section of the street, what stands in it and how often."""
    families: float = 1.0
    """Kinds of houses, trees and pavings: their shape, material and pattern."""


def read_gap(parts: object) -> Gap:
    """The gap of ``dataset.gap``; raises ValueError for a part that it does not have."""
    if not isinstance(parts, Mapping) or not {*parts} <= {*Gap._fields}:
        names = ", ".join(f"dataset.gap.{name}" for name in Gap._fields)
        raise ValueError(f"dataset.gap={parts} is not a gap; its parts are {names}")
    for name, value in parts.items():
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"dataset.gap.{name} must be a number, got {value}")
    return Gap(**{name: float(value) for name, value in parts.items()})


WHOLE_GAP = Gap()

# The look was set once, from source-only and oracle alone, so that source-only reaches about 56 %
# of the oracle, as on GTA5 to Cityscapes (36.6 of 65.1); layout and families likewise, so that the
# target's batch statistics close about a third of the gap: mIoU of source-only 17.9, statistics
# 22.9, oracle 32.6 after 400 steps each (seed 0; at full layout and families 14.6, 17.7, 33.2).
STRENGTH = Gap(look=0.4, layout=0.6, families=0.6)
"""How far a gap of 1 goes on the line from ``NEUTRAL`` to the constants below."""

Rgb = tuple[float, float, float]


class Photography(NamedTuple):
    """How a scene becomes a picture."""

    balance: Rgb  # gain of each colour channel
    exposure: float
    gamma: float  # above 1: darker mid-tones
    saturation: float
    contrast: float
    shade: float  # how much darker the side away from the sun is
    haze: float  # optical depth per 100 m
    blur: float  # standard deviation, in 1/128 of the image height
    noise: float  # standard deviation of the sensor, of full scale
    texture: float  # strength of surface texture
    coarseness: float  # share of the texture in large patches
    vignette: float  # light lost in the corners


class Style(NamedTuple):
    """Statistics of a domain's scenes: means, and probabilities per scene or per slot."""

    focal: float  # in image heights
    horizon: float  # in image heights from the top
    eye: float  # height of the camera, m
    road: float  # half width, m
    storeys: float
    vegetation: float  # share of the building line
    trees: float  # a side
    persons: float
    parked: float  # probability that a parking slot is taken
    traffic: float  # probability that a slot in a lane is taken
    hood: float  # probability that the bonnet of the camera's own car is seen
    size: float  # of vehicles, as a multiple of the usual one
    coaches: float  # multiple of the usual chance of a truck, a bus or a tram
    cycles: float  # multiple of the usual chance of a cycle
    signs: float  # multiple of the usual chance of a sign or a light


class Families(NamedTuple):
    """Which kinds of things a domain has: shares of all such things, and strengths of patterns."""

    conifers: float  # trees whose crown is a cone
    autumn: float  # trees and hedges in yellow, red and brown
    gabled: float  # houses with a pitched roof
    ribbons: float  # facades with bands of glass instead of windows
    courses: float  # rows of bricks on walls and houses: relative change of brightness
    cobbles: float  # joints between the stones of roads and pavements: likewise


class StreetDomain(NamedTuple):
    """One domain at one gap."""

    look: Photography
    style: Style
    families: Families
    tint: dict[int, Rgb]  # raw id to the colour gain of its surfaces, in this light
    material: dict[int, Rgb]  # the same for what the surface is made of
    absent: frozenset[int] = frozenset()  # raw ids that never occur


NEUTRAL = StreetDomain(
    Photography((1.0, 1.0, 1.0), 1.0, 1.0, 1.0, 1.0, 0.22, 0.35, 0.35, 0.014, 1.0, 0.5, 0.1),
    Style(1.5, 0.44, 1.6, 5.4, 4.0, 0.42, 2.6, 8.0, 0.5, 0.45, 0.5, 1.0, 1.0, 1.0, 1.0),
    Families(0.3, 0.3, 0.4, 0.3, 0.05, 0.05),
    {},
    {},
)

_DOMAINS = {
    # A sunny game: warm, saturated, crisp, far-sighted; wide roads, tall houses, few people.
    "GTA5": StreetDomain(
        Photography(
            (1.1, 1.0, 0.84), 1.12, 0.88, 1.35, 1.15, 0.34, 0.18, 0.12, 0.004, 0.7, 0.35, 0.0
        ),
        Style(1.3, 0.48, 2.0, 6.6, 5.4, 0.36, 2.2, 6.0, 0.4, 0.4, 0.15, 1.1, 1.2, 0.7, 0.9),
        Families(0.1, 0.0, 0.1, 0.6, 0.0, 0.0),
        {
            ids.ROAD: (1.12, 1.06, 1.0),
            ids.SIDEWALK: (1.15, 1.08, 0.95),
            ids.BUILDING: (1.08, 1.0, 0.95),
            ids.WALL: (1.1, 1.02, 0.92),
            ids.VEGETATION: (1.05, 1.08, 0.7),
            ids.TERRAIN: (1.3, 1.1, 0.75),
            ids.SKY: (0.8, 0.95, 1.1),
            ids.POLE: (0.85, 0.85, 0.85),
        },
        {ids.ROAD: (0.85, 0.85, 0.87), ids.SIDEWALK: (1.15, 1.14, 1.12)},
    ),
    # A rendered city seen from many heights: vivid, even, without a lens.
    "SYNTHIA": StreetDomain(
        Photography(
            (0.98, 1.0, 1.06), 1.05, 0.92, 1.45, 1.1, 0.28, 0.3, 0.1, 0.003, 0.6, 0.65, 0.0
        ),
        Style(1.3, 0.4, 2.5, 6.0, 4.4, 0.4, 2.6, 9.0, 0.45, 0.4, 0.0, 1.1, 1.1, 0.8, 0.9),
        Families(0.1, 0.0, 0.1, 0.5, 0.0, 0.0),
        {
            ids.ROAD: (1.05, 1.0, 0.98),
            ids.SIDEWALK: (1.1, 1.0, 0.92),
            ids.BUILDING: (1.1, 1.0, 0.9),
            ids.VEGETATION: (0.85, 1.1, 0.75),
            ids.SKY: (0.85, 0.95, 1.08),
        },
        {ids.ROAD: (0.85, 0.85, 0.87), ids.SIDEWALK: (1.15, 1.14, 1.12)},
        frozenset({ids.TERRAIN, ids.TRUCK, ids.TRAIN}),
    ),
    # A camera behind a windscreen under a northern sky: cool, dull, hazy, noisy, soft.
    "Cityscapes": StreetDomain(
        Photography(
            (0.84, 0.98, 0.95), 0.85, 1.08, 0.62, 0.85, 0.12, 0.6, 0.6, 0.024, 1.3, 0.65, 0.3
        ),
        Style(1.7, 0.4, 1.2, 4.4, 3.2, 0.5, 3.2, 10.0, 0.6, 0.5, 0.9, 0.92, 0.8, 1.3, 1.1),
        Families(0.6, 0.7, 0.8, 0.1, 0.12, 0.12),
        {
            ids.ROAD: (0.9, 0.94, 1.0),
            ids.SIDEWALK: (0.82, 0.86, 0.92),
            ids.BUILDING: (0.95, 1.0, 1.0),
            ids.WALL: (0.9, 0.98, 1.05),
            ids.VEGETATION: (0.9, 0.95, 1.3),
            ids.TERRAIN: (0.8, 0.95, 1.15),
            ids.SKY: (1.2, 1.06, 0.96),
            ids.POLE: (1.15, 1.15, 1.15),
        },
        # Light cobbles between dark slabs, walls of red brick, dry grass.
        {
            ids.ROAD: (1.28, 1.22, 1.12),
            ids.SIDEWALK: (0.74, 0.73, 0.74),
            ids.BUILDING: (1.0, 0.9, 0.82),
            ids.WALL: (1.05, 0.78, 0.66),
            ids.FENCE: (0.8, 0.75, 0.7),
            ids.TERRAIN: (1.2, 1.0, 0.75),
        },
    ),
}


def domain(name: str, gap: Gap) -> StreetDomain:
    """The domain ``name`` (GTA5, SYNTHIA or Cityscapes) at ``gap``.

    0 makes all of them equal but for what is ``absent``. Raises ValueError for a negative gap.
    """
    for key, value in gap._asdict().items():
        if value < 0:
            raise ValueError(f"dataset.gap.{key} must not be negative, got {value}")
    far = _DOMAINS[name]
    look, layout, families = (g * full for g, full in zip(gap, STRENGTH, strict=True))
    return StreetDomain(
        Photography(*_all_between(NEUTRAL.look, far.look, look)),
        Style(*_all_between(NEUTRAL.style, far.style, layout)),
        Families(*_all_between(NEUTRAL.families, far.families, families)),
        {raw: _between((1.0, 1.0, 1.0), gain, look) for raw, gain in far.tint.items()},
        {raw: _between((1.0, 1.0, 1.0), gain, families) for raw, gain in far.material.items()},
        far.absent,
    )


def _all_between(
    near: Sequence[float | Rgb], far: Sequence[float | Rgb], share: float
) -> Iterator[float | Rgb]:
    return (_between(a, b, share) for a, b in zip(near, far, strict=True))


def _between(near: float | Rgb, far: float | Rgb, share: float) -> float | Rgb:
    """On the line through both, never below 0: every constant is a gain, a size or a chance."""
    if isinstance(near, tuple):
        return tuple(_all_between(near, far, share))
    return max(0.0, near + (far - near) * share)
