"""All constants of a domain: how it is photographed, and the statistics of its scenes.

``domain(name, gap)`` moves every number of this file from ``NEUTRAL`` (gap 0: all domains are one)
in a straight line towards the domain's own (gap 1), and beyond.
"""

from __future__ import annotations

from typing import NamedTuple

from uda_hydra.data.streets import ids

# Set once, from source-only (18.6 mIoU) and oracle (33.1) alone, means over seeds 0, 1, 2 of the
# preset's 900 steps: 56 % of the oracle, as GTA5 to Cityscapes (36.6 of 65.1).
STRENGTH = 0.4
"""How far ``gap = 1`` goes on the line from ``NEUTRAL`` to the constants below."""

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


class StreetDomain(NamedTuple):
    """One domain at one gap."""

    look: Photography
    style: Style
    tint: dict[int, Rgb]  # raw id to the colour gain of its surfaces
    absent: frozenset[int] = frozenset()  # raw ids that never occur


NEUTRAL = StreetDomain(
    Photography((1.0, 1.0, 1.0), 1.0, 1.0, 1.0, 1.0, 0.22, 0.35, 0.35, 0.014, 1.0, 0.5, 0.1),
    Style(1.5, 0.44, 1.55, 5.4, 4.2, 0.42, 2.6, 8.0, 0.5, 0.45, 0.5),
    {},
)

_DOMAINS = {
    # A sunny game: warm, saturated, crisp, far-sighted; wide roads, tall houses, few people.
    "GTA5": StreetDomain(
        Photography(
            (1.1, 1.0, 0.84), 1.12, 0.88, 1.35, 1.15, 0.34, 0.18, 0.12, 0.004, 0.7, 0.35, 0.0
        ),
        Style(1.35, 0.46, 1.75, 6.0, 5.2, 0.38, 2.6, 8.0, 0.45, 0.4, 0.15),
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
    ),
    # A rendered city seen from many heights: vivid, even, without a lens.
    "SYNTHIA": StreetDomain(
        Photography(
            (0.98, 1.0, 1.06), 1.05, 0.92, 1.45, 1.1, 0.28, 0.3, 0.1, 0.003, 0.6, 0.65, 0.0
        ),
        Style(1.3, 0.4, 2.5, 6.0, 4.4, 0.4, 2.6, 9.0, 0.45, 0.4, 0.0),
        {
            ids.ROAD: (1.05, 1.0, 0.98),
            ids.SIDEWALK: (1.1, 1.0, 0.92),
            ids.BUILDING: (1.1, 1.0, 0.9),
            ids.VEGETATION: (0.85, 1.1, 0.75),
            ids.SKY: (0.85, 0.95, 1.08),
        },
        frozenset({ids.TERRAIN, ids.TRUCK, ids.TRAIN}),
    ),
    # A camera behind a windscreen under a northern sky: cool, dull, hazy, noisy, soft.
    "Cityscapes": StreetDomain(
        Photography(
            (0.84, 0.98, 0.95), 0.85, 1.08, 0.62, 0.85, 0.12, 0.6, 0.6, 0.024, 1.3, 0.65, 0.3
        ),
        Style(1.65, 0.42, 1.35, 4.9, 4.0, 0.48, 3.0, 9.0, 0.55, 0.45, 0.9),
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
    ),
}


def domain(name: str, gap: float) -> StreetDomain:
    """The domain ``name`` (GTA5, SYNTHIA or Cityscapes) at ``gap``; 0 makes all of them equal."""
    if gap < 0:
        raise ValueError(f"dataset.gap must not be negative, got {gap}")
    far, share = _DOMAINS[name], gap * STRENGTH
    return StreetDomain(
        Photography(*(_between(*pair, share) for pair in zip(NEUTRAL.look, far.look, strict=True))),
        Style(*(_between(*pair, share) for pair in zip(NEUTRAL.style, far.style, strict=True))),
        {raw: _between((1.0, 1.0, 1.0), gain, share) for raw, gain in far.tint.items()},
        far.absent,
    )


def _between(near: float | Rgb, far: float | Rgb, share: float) -> float | Rgb:
    """On the line through both, never below 0: every constant is a gain, a size or a chance."""
    if isinstance(near, tuple):
        return tuple(_between(a, b, share) for a, b in zip(near, far, strict=True))
    return max(0.0, near + (far - near) * share)
