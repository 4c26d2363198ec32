from __future__ import annotations

import pytest
import torch

from uda_hydra.augment.style import Restyle
from uda_hydra.augment.training import AS_THEY_ARE, RandomView
from uda_hydra.data.samplers import UniformOrder
from uda_hydra.data.streams import Steps, TrainingSet, load, order, seed_of


class Numbered:
    """Images whose pixels hold their number."""

    def __init__(self, count):
        self.keys = tuple(f"image {i}" for i in range(count))

    def image(self, index):
        return torch.full((3, 4, 6), index, dtype=torch.uint8)

    def label(self, index):
        return torch.full((4, 6), index, dtype=torch.uint8)


def steps_of(sources, targets, **more):
    sets = (TrainingSet(Numbered(count), (6, 4)) for count in (sources, targets))
    usual = {"augmentation": AS_THEY_ARE, "source_order": UniformOrder("source", sources)}
    return Steps(*sets, **usual | more)


def test_every_pass_shows_every_sample_once_in_another_order():
    passes = [
        [order(seed=3, domain="source", size=7, position=7 * epoch + i) for i in range(7)]
        for epoch in range(3)
    ]
    assert all(sorted(one) == list(range(7)) for one in passes)
    assert len({tuple(one) for one in passes}) == 3


def test_the_domains_are_shuffled_apart():
    orders = [
        [order(seed=3, domain=domain, size=50, position=i) for i in range(50)]
        for domain in ("source", "target")
    ]
    assert orders[0] != orders[1]


def test_seeds_depend_on_every_part():
    assert (
        len({seed_of(1, "a", 2), seed_of(1, "a", 3), seed_of(2, "a", 2), seed_of(1, "b", 2)}) == 4
    )


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_steps_are_the_same_with_any_number_of_workers_and_any_start(workers):
    def steps(start, workers):
        data = steps_of(5, 3, seed=1, batch_size=2)
        return list(load(data, range(start, 9), workers=workers))

    whole, rest = steps(0, 0), steps(4, workers)
    assert [source.key for source, _ in whole[4:]] == [source.key for source, _ in rest]
    for (source, target), (other, another) in zip(whole[4:], rest, strict=True):
        assert torch.equal(source.image, other.image)
        assert torch.equal(source.label, other.label)
        assert torch.equal(target.image, another.image)
        assert target.key == another.key


def test_a_batch_holds_image_label_and_key_of_the_same_sample():
    source, target = steps_of(9, 9, seed=0, batch_size=3)[2]
    for image, label, key in zip(*source[:3], strict=True):
        assert key == f"image {image[0, 0, 0]}" == f"image {label[0, 0]}"
    assert target.image.shape == (3, 3, 4, 6)
    assert not hasattr(target, "label")


def test_a_source_image_takes_the_style_of_the_target_image_at_its_place():
    frame = {"mirror": 0.5, "blur": 0.0, "scale_range": None, "scale_base": None, "crop": [3, 2]}
    restyle = Restyle(transfer="fda", beta=0.1, window="symmetric", probability=1.0, **frame)
    view = RandomView(**frame)
    plain = steps_of(5, 3, seed=1, batch_size=2, augmentation=view)
    styled = steps_of(5, 3, seed=1, batch_size=2, augmentation=restyle)
    for step in range(3):
        (before, _), (source, target) = plain[step], styled[step]
        # Of images of one colour, FDA exchanges the colours.
        assert source.image.equal(target.image)
        assert source.label.equal(before.label) and source.key == before.key
