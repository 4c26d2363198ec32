"""Views in other colours."""

from random import Random

import pytest
import torch

from uda_hydra.augment import colour
from uda_hydra.augment.colour import ColourView
from uda_hydra.types import Crop, Resize

SIZE, CROP = (20, 12), [30, 16]


@pytest.fixture
def seen(monkeypatch):
    """Views of a source and a target image by fifty seeds, and the jitters of their colours."""
    jitters = []
    monkeypatch.setattr(colour, "jittered", lambda image, chosen: jitters.append(chosen) or image)

    def see(colours: str, **options):
        jitters.clear()
        plain = {"jitter": 0.5, "hue": 0.2, "grey": 0.0, "blur": None, "mirror": 0.0}
        random_size = {"scale_range": [0.5, 1.5], "crop": CROP}
        views = ColourView(colours, **plain | random_size | options)
        image = torch.arange(3 * 12 * 20, dtype=torch.uint8).view(3, 12, 20)
        shown = [
            (
                views.source(image, image[0], (9, 7), Random(n)),
                views.target(image, (9, 7), Random(n)),
            )
            for n in range(50)
        ]
        return [(source.image(), source.view, target) for source, target in shown], jitters

    return see


def test_a_size_is_relative_to_the_image_and_padding_lies_on_both_sides(seen):
    corners = set()
    shown, _ = seen("none")
    for number, (_, view, _) in enumerate(shown):
        resize, crop = view.operations
        scale = Random(number).uniform(0.5, 1.5)
        assert resize == Resize(int(20 * scale), int(12 * scale))
        assert crop[2:] == Crop(0, 0, *CROP)[2:]
        for start, have, want in zip(crop[:2], resize, CROP, strict=True):
            missing = max(0, want - have)
            assert -missing <= start <= have + missing - want
            if missing:
                # Left of the image, right of it, or on either side.
                corners.add((start == -missing) - (start == have + missing - want))
    assert corners == {-1, 0, 1}


@pytest.mark.parametrize("colours", ["source", "target", "both", "none"])
def test_colours_of_the_domains_that_are_named_are_jittered(seen, colours):
    _, jitters = seen(colours)
    assert len(jitters) == {"both": 100, "none": 0}.get(colours, 50)
    if not jitters:
        return
    for name in ("brightness", "contrast", "saturation"):
        factors = [getattr(one, name) for one in jitters]
        assert 0.5 <= min(factors) < 0.7 and 1.3 < max(factors) <= 1.5
    hues = [one.hue for one in jitters]
    assert -0.2 <= min(hues) < -0.1 and 0.1 < max(hues) <= 0.2
    assert all(sorted(one.order) == [0, 1, 2, 3] for one in jitters)
    assert {one.order[0] for one in jitters} == {0, 1, 2, 3}


def test_a_grey_image_has_equal_channels(seen):
    grey, _ = seen("source", grey=1.0, crop=[4, 4], scale_range=[1.0, 1.0])
    for source, _, target in grey:
        assert source[0].equal(source[1]) and source[0].equal(source[2])
        assert not target.image[0].equal(target.image[1])
