"""Style transfer without weights, against values worked out by hand."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
import torch

from uda_hydra.augment.style import Restyle, reinhard, swap_amplitudes
from uda_hydra.models.adain import recolour

WHOLE = {"mirror": 0.0, "blur": 0.0, "scale_range": None, "scale_base": None}


def picture(*colours: tuple[int, int, int]) -> np.ndarray:
    return np.array([colours], np.uint8)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        # A grey image has no hue to stretch: its a and b are shifted alone.
        (picture((100, 100, 100), (140, 140, 140)), [(59, 79, 108), (81, 101, 131)]),
        (
            picture((200, 100, 50), (50, 120, 200), (90, 90, 60), (30, 160, 80)),
            [(107, 93, 82), (40, 86, 131), (41, 46, 50), (101, 114, 105)],
        ),
    ],
)
def test_colour_statistics(image, expected):
    style = picture((60, 80, 100), (80, 100, 140))
    if len(expected) == 4:
        style = picture((60, 80, 100), (80, 100, 140), (120, 110, 90), (40, 50, 40))
    difference = reinhard(image, style)[0].astype(int) - np.array(expected)
    assert np.abs(difference).max() <= 1


THETA = 2 * np.pi * np.arange(8) / 8
COS, SIN2 = np.cos(THETA), np.sin(2 * THETA)
SOURCE = 10 + 4 * COS + SIN2
TARGET = 20 + 2 * COS + 3 * np.cos(2 * THETA)


def rows(values: np.ndarray) -> np.ndarray:
    return np.repeat(np.tile(values, (8, 1))[..., None], 3, axis=2).astype(np.float32)


@pytest.mark.parametrize(
    ("beta", "window", "expected"),
    [
        (0.1, "symmetric", 20 + 4 * COS + SIN2),
        (0.125, "symmetric", 20 + 2 * COS + SIN2),
        (0.25, "symmetric", 20 + 2 * COS + 3 * SIN2),
        (0.1, "official", SOURCE),
        (0.125, "official", 20 + 4 * COS + SIN2),
        (0.25, "official", 20 + 2 * COS + SIN2),
    ],
)
def test_amplitudes(beta, window, expected):
    mixed = swap(SOURCE, TARGET, beta, window)
    np.testing.assert_allclose(mixed, rows(expected), atol=1e-4)


def test_amplitudes_of_columns():
    for window, expected in (
        ("symmetric", 20 + 2 * COS + SIN2),
        ("official", 20 + 3 * COS + SIN2),
    ):
        mixed = swap(SOURCE, TARGET, 0.125, window, turned=True)
        np.testing.assert_allclose(mixed, rows(expected).transpose(1, 0, 2), atol=1e-4)


def swap(source, target, beta, window, *, turned=False):
    images = [rows(values) for values in (source, target)]
    if turned:
        images = [image.transpose(1, 0, 2) for image in images]
    return swap_amplitudes(*images, beta=beta, window=window)


def test_an_image_in_its_own_style_stays():
    noise = np.random.default_rng(0).integers(0, 256, (12, 18, 3), np.uint8)
    np.testing.assert_allclose(swap_amplitudes(noise, noise, beta=0.2), noise, atol=1e-3)
    assert np.abs(reinhard(noise, noise).astype(int) - noise).max() <= 1


@pytest.mark.parametrize("transfer", ["fda", "reinhard"])
def test_the_restyled_image_has_the_mean_of_the_style(transfer):
    """Of any size; with a probability of 0 nothing changes."""
    torch.manual_seed(0)
    image = torch.randint(60, 120, (3, 16, 24), dtype=torch.uint8)
    style = torch.randint(90, 180, (3, 20, 20), dtype=torch.uint8)
    options = {"transfer": transfer, "beta": 0.05, "window": "symmetric"} | WHOLE
    restyled = Restyle(**options, probability=1.0).restyle(image, [style], Random(0))
    assert restyled.shape == image.shape
    difference = restyled.float().mean(dim=(1, 2)) - style.float().mean(dim=(1, 2))
    assert difference.abs().max() < 4
    assert Restyle(**options, probability=0.0).restyle(image, [style], Random(0)) is image


def test_fda_trains_on_what_it_makes_neither_clipped_nor_rounded():
    """A dark style takes half of the pixels below 0, where the release's training leaves them."""
    image = torch.randint(0, 256, (3, 16, 24), generator=torch.Generator().manual_seed(0)).byte()
    style = torch.full((3, 16, 24), 20, dtype=torch.uint8)
    vary = Restyle(transfer="fda", beta=0.05, window="symmetric", **WHOLE, probability=1.0)
    seen = vary.restyle(image, [style], Random(0))
    mixed = swap_amplitudes(image.permute(1, 2, 0).numpy(), np.full((16, 24, 3), 20), beta=0.05)
    assert seen.min() < -50
    np.testing.assert_allclose(seen.permute(1, 2, 0), mixed, atol=1e-4)


@pytest.mark.parametrize("side", [16, 32, 64])
def test_a_picture_takes_the_deviation_of_another_of_any_size(side):
    draws = torch.Generator().manual_seed(side)
    image, colours = (torch.rand(3, n, n, generator=draws) for n in (side, 32))
    seen = recolour(image, colours / 4)
    # The identity that is added to each second moment weighs one pixel: 0.4 % of the smallest.
    torch.testing.assert_close(seen.std(dim=(1, 2)), colours.std(dim=(1, 2)) / 4, rtol=0.01, atol=0)


def test_a_constant_picture_takes_the_mean_colour_of_another():
    colours = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(0))
    seen = recolour(torch.zeros(3, 4, 4), colours)
    torch.testing.assert_close(seen, colours.mean(dim=(1, 2))[:, None, None].expand(3, 4, 4))
    assert recolour(colours, torch.zeros(3, 4, 4)).abs().max() < 1e-6
