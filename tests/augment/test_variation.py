from random import Random

import torch

from uda_hydra.augment.photometric import Jitter
from uda_hydra.augment.variation import SIGMAS, Chances, Variation, draw_variation, vary
from uda_hydra.types import Normalization


def test_images_of_a_batch_differ_unless_they_are_to_be_alike():
    always = Chances(jitter=1.0, strength=0.2, blur=1.0)
    own = draw_variation(8, always, Random(0), alike=False)
    assert len({one.order for one in own.jitters}) > 1
    assert len({*own.sigmas}) == 8
    assert all(SIGMAS[0] <= sigma <= SIGMAS[1] for sigma in own.sigmas)
    alike = draw_variation(8, always, Random(0), alike=True)
    assert len({one.order for one in alike.jitters}) == len({*alike.sigmas}) == 1
    assert len({one.hue for one in alike.jitters}) == 8


def test_four_of_five_batches_are_jittered_and_half_are_blurred():
    chances, random = Chances(jitter=0.8, strength=0.2, blur=0.5), Random(0)
    drawn = [draw_variation(2, chances, random, alike=False) for _ in range(4000)]
    assert abs(sum(bool(one.jitters) for one in drawn) / 4000 - 0.8) < 0.02
    assert abs(sum(bool(one.sigmas) for one in drawn) / 4000 - 0.5) < 0.02


def test_the_order_of_channels_and_their_scale_change_no_colour():
    levels = torch.rand(1, 3, 4, 5) * 255
    one = Variation((Jitter(1.1, 0.9, 1.2, 0.1, (3, 1, 2, 0)),), ())
    rgb = Normalization("rgb", 1.0, (0.0, 0.0, 0.0), (255.0, 255.0, 255.0))
    bgr = Normalization("bgr", 1 / 255, (0.1, 0.2, 0.3), (0.5, 1.0, 2.0))
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (bgr.mean, bgr.std))
    expected = vary(levels / 255, one, rgb)
    found = vary((levels.flip(1) / 255 - mean) / std, one, bgr)
    torch.testing.assert_close((found * std + mean).flip(1), expected)
