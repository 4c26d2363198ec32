"""From a scene to a picture and its label: drawing, light, air, surface, lens and sensor."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from uda_hydra.data.streets import ids
from uda_hydra.data.streets.gap import Families, Photography, Rgb, StreetDomain
from uda_hydra.data.streets.scene import Scene

_OVERSAMPLING = 2
_SHIFT = 4  # OpenCV reads corners in 1/16 pixel

_SKY_TOP, _SKY_LOW = np.array((112, 160, 212.0)), np.array((206, 216, 222.0))

# How rough each surface is: standard deviation of its texture, as a share of its colour.
_ROUGHNESS = {
    ids.ROAD: 0.06,
    ids.LANE_MARKING: 0.08,
    ids.SIDEWALK: 0.09,
    ids.BUILDING: 0.07,
    ids.WALL: 0.1,
    ids.FENCE: 0.1,
    ids.VEGETATION: 0.24,
    ids.TERRAIN: 0.16,
    ids.SKY: 0.035,
}
_SMOOTH = 0.03


def photograph(
    rng: np.random.Generator, scene: Scene, domain: StreetDomain, size: tuple[int, int]
) -> tuple[UInt8[np.ndarray, "h w rgb=3"], UInt8[np.ndarray, "h w"]]:
    """The picture and its raw ids at ``size`` (height, width)."""
    look = domain.look
    air = _SKY_LOW * rng.uniform(0.88, 1.06) * domain.tint.get(ids.SKY, (1.0, 1.0, 1.0))
    haze = look.haze * rng.lognormal(0, 0.35)
    canvas = _paint(scene, domain, air, haze, size)
    # Colours are averaged, ids are not: one of the four oversampled ones is taken.
    colour = cv2.resize(canvas[..., :3], size[::-1], interpolation=cv2.INTER_AREA)
    label = np.ascontiguousarray(canvas[1::_OVERSAMPLING, 1::_OVERSAMPLING, 3])
    light = colour.astype(np.float32) / 255
    light *= 1 + (_texture(rng, label, look) + _pattern(label, domain.families))[..., None]
    return _develop(rng, light, look), label


def _paint(
    scene: Scene,
    domain: StreetDomain,
    air: Float[np.ndarray, "rgb=3"],
    haze: float,
    size: tuple[int, int],
) -> UInt8[np.ndarray, "h2 w2 rgb_id=4"]:
    """All shapes on an oversampled canvas whose fourth channel is the raw id."""
    height, width = (_OVERSAMPLING * side for side in size)
    down = np.linspace(0, 1 / scene.camera.horizon, height)[:, None].clip(0, 1)
    sky = _SKY_TOP * domain.tint.get(ids.SKY, (1.0, 1.0, 1.0)) * (1 - down) + air * down
    canvas = np.empty((height, width, 4), np.uint8)
    canvas[..., :3] = sky.clip(0, 255)[:, None]
    canvas[..., 3] = ids.SKY

    # Everything is projected and coloured at once: a scene has about a thousand small polygons.
    counts = np.array([len(shape.points) for shape in scene.shapes])
    points = np.array([point for shape in scene.shapes for point in shape.points])
    pixels = scene.camera.project(points) * height + (width / 2 - 0.5, -0.5)
    corners = np.rint(pixels * (1 << _SHIFT)).clip(-(2**27), 2**27).astype(np.int32)
    colours = _colours(scene, domain, points, counts, air, haze)
    start = 0
    for count, paint in zip(counts.tolist(), colours.tolist(), strict=True):
        cv2.fillPoly(canvas, [corners[start : start + count]], paint, cv2.LINE_8, _SHIFT)
        start += count
    return canvas


def _colours(
    scene: Scene,
    domain: StreetDomain,
    points: Float[np.ndarray, "n xyz=3"],
    counts: np.ndarray,
    air: Float[np.ndarray, "rgb=3"],
    haze: float,
) -> UInt8[np.ndarray, "m rgb_id=4"]:
    """What reaches the camera from each shape: paint, domain, sun, and the air between."""
    raw = np.array([shape.id for shape in scene.shapes])
    tints = np.ones((256, 3))
    for gains in (domain.tint, domain.material):
        for id, gain in gains.items():
            tints[id] *= gain
    facing = np.array([shape.facing for shape in scene.shapes])
    colour = np.array([shape.colour for shape in scene.shapes]) * tints[raw]
    colour *= (1 + domain.look.shade * scene.sun * facing)[:, None]
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    # The nearest corner counts: a long strip of road keeps its colour under the camera.
    distance = np.minimum.reduceat(points[:, 2], first)
    clear = np.exp(-haze * distance / 100)[:, None]
    mixed = colour * clear + air * (1 - clear)
    return np.concatenate([mixed.clip(0, 255), raw[:, None]], axis=1).astype(np.uint8)


def _texture(
    rng: np.random.Generator, label: UInt8[np.ndarray, "h w"], look: Photography
) -> Float32[np.ndarray, "h w"]:
    """Relative change of brightness by surface: patches, and grain within them."""
    height, width = label.shape
    roughness = np.full(256, _SMOOTH, np.float32)
    for id, value in _ROUGHNESS.items():
        roughness[id] = value
    # The grids hang on the image, not on its pixels: any size shows the same patches.
    fine, coarse = (
        cv2.resize(
            rng.standard_normal((rows, round(rows * width / height)), np.float32),
            (width, height),
            interpolation=cv2.INTER_LINEAR,
        )
        for rows in (100, 18)
    )
    share = min(look.coarseness, 1.0)
    return look.texture * roughness[label] * (fine * (1 - share) + coarse * share) * 1.6


def _pattern(label: UInt8[np.ndarray, "h w"], families: Families) -> Float32[np.ndarray, "h w"]:
    """Relative change of brightness by rows of bricks and joints between stones."""
    height, width = label.shape
    # In image heights, so that any size shows the same pattern.
    y = np.arange(height, dtype=np.float32)[:, None] / height
    x = np.arange(width, dtype=np.float32)[None] / height
    rows = np.sin(2 * np.pi * 36 * y) * np.ones_like(x)
    stones = np.sin(2 * np.pi * 28 * y) * np.sin(2 * np.pi * 28 * x)
    bricks = np.isin(label, (ids.BUILDING, ids.WALL))
    paved = np.isin(label, (ids.ROAD, ids.SIDEWALK))
    pattern = families.courses * rows * bricks + families.cobbles * stones * paved
    return pattern.astype(np.float32)


def _develop(
    rng: np.random.Generator, light: Float32[np.ndarray, "h w rgb=3"], look: Photography
) -> UInt8[np.ndarray, "h w rgb=3"]:
    """Lens, sensor and colour response; every picture has light of its own around the domain's."""
    height, width = light.shape[:2]
    exposure = look.exposure * rng.lognormal(0, 0.12)
    warmth = rng.normal(0, 0.035)
    balance: Rgb = (look.balance[0] + warmth, look.balance[1], look.balance[2] - warmth)
    light = light * (np.array(balance, np.float32) * np.float32(exposure))
    light *= _falloff(height, width, look.vignette)
    sigma = look.blur * height / 128
    if sigma > 0.1:
        light = cv2.GaussianBlur(light, (0, 0), sigma)
    grey = light.mean(axis=2, keepdims=True)
    light = grey + (light - grey) * np.float32(look.saturation * rng.lognormal(0, 0.1))
    light = 0.45 + (light - 0.45) * np.float32(look.contrast * rng.lognormal(0, 0.07))
    light = np.clip(light, 0, 1) ** np.float32(look.gamma)
    light += look.noise * rng.standard_normal(light.shape, np.float32)
    return np.rint(light.clip(0, 1) * 255).astype(np.uint8)


def _falloff(height: int, width: int, vignette: float) -> Float32[np.ndarray, "h w 1"]:
    """Share of the light that reaches each pixel: 1 in the middle, less in the corners."""
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :, None]
    return 1 - np.float32(vignette) * (x * x + y * y) / 2
