"""Samplers: functions of (seed, position), read from what task=scan wrote."""

from __future__ import annotations

import pickle
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pytest
import torch

from tests.conftest import composed
from uda_hydra import build
from uda_hydra.augment import training
from uda_hydra.augment.training import AS_THEY_ARE, Augmentation, WeakStrong
from uda_hydra.augment.warp import warp
from uda_hydra.data import samplers
from uda_hydra.data.samplers import (
    ClassBalanced,
    ClassBalancedOrder,
    Portion,
    PortionOrder,
    RareClass,
    UniformOrder,
    files_by_class,
)
from uda_hydra.data.scan import Statistics, scan
from uda_hydra.data.streams import Draw, Steps, TrainingSet
from uda_hydra.errors import UserError


@pytest.fixture(autouse=True)
def scans(tmp_path, monkeypatch):
    """Scans are looked for in the folder of the test."""
    monkeypatch.setattr(samplers, "SCANS", tmp_path)


@pytest.fixture
def counted(pair, tmp_path):
    file = tmp_path / "scan.json"
    file.write_text(scan(pair.source.images, workers=0).to_json())
    return str(file)


def batches(pair, steps, *, workers=0, stored=MappingProxyType({})):
    kind = {"seed": 1, "batch_size": 2, "pin": False, "workers": workers}
    return list(pair.streams(steps=steps, stored=stored, **kind))


def sampler_of(kind, file):
    if kind == "balanced":
        return ClassBalanced(statistics=file, skip_first=True)
    return RareClass(statistics=file, temperature=0.1, min_pixels=0, min_crop_share=0.0)


@pytest.mark.parametrize("kind", ["balanced", "rare"])
@pytest.mark.parametrize("workers", [0, 2])
def test_orders_are_the_same_with_any_number_of_workers_and_any_start(pair, counted, kind, workers):
    chosen = pair.sampled(sampler_of(kind, counted))
    whole = batches(chosen, range(8))
    rest = batches(chosen, range(3, 8), workers=workers)
    assert [source.key for source, _ in whole[3:]] == [source.key for source, _ in rest]
    assert [target.key for _, target in whole[3:]] == [target.key for _, target in rest]
    # The target keeps the uniform order.
    uniform = batches(pair, range(8))
    assert [target.key for _, target in whole] == [target.key for _, target in uniform]


def test_a_missing_scan_names_the_task(pair, tmp_path):
    for file in (None, str(tmp_path / "other.json")):
        with pytest.raises(UserError, match="task=scan"):
            batches(pair.sampled(sampler_of("rare", file)), range(1))
    (tmp_path / "damaged.json").write_text("{")
    with pytest.raises(UserError, match=r"damaged\.json"):
        batches(pair.sampled(sampler_of("balanced", str(tmp_path / "damaged.json"))), range(1))
    assert pair.scan_file.name == "pair-cityscapes19.json"


def test_an_order_reaches_a_process_without_what_it_has_drawn():
    order = ClassBalancedOrder(np.eye(4, dtype=bool), skip_first=False)
    first = [order.draw(0, position).index for position in range(20)]
    again = pickle.loads(pickle.dumps(order))
    assert [again.draw(0, position).index for position in range(20)] == first


def test_classes_without_a_file_over_the_threshold_are_named():
    pixels = np.array([[5000, 0, 10], [4000, 0, 3000]])
    raw_ids = ((0,), (1,), (2,))
    classes, files = ("road", "train", "rider"), (("a", 1), ("b", 1))
    statistics = Statistics("any", classes, files, pixels, raw_ids)
    files, dropped = files_by_class(statistics, 3000)
    assert dropped == ("rider",)
    assert [rows.tolist() for rows in files] == [[0, 1], [], []]


def test_a_class_is_drawn_then_one_of_its_files(pair, counted):
    sampler = RareClass(statistics=counted, temperature=1.0, min_pixels=0, min_crop_share=0.5)
    order = sampler.order(pair.source.images, scan=pair.scan_file)
    draws = [order.draw(0, position) for position in range(200)]
    assert {draw.share for draw in draws} == {0.5}
    for draw in draws:
        assert draw.index in order.files[draw.category]
    assert draws != [order.draw(1, position) for position in range(200)]
    assert len({draw.category for draw in draws}) > 1


def test_views_of_a_wanted_class_are_drawn_again(monkeypatch):
    """Of a label with one pixel of class 1, crops of a pixel show it more often if wanted.

    Labels alone decide, so the image is warped once, as the target's.
    """
    kinds = []

    def noted(map, view, *, kind):
        kinds.append(kind)
        return warp(map, view, kind=kind)

    monkeypatch.setattr(training, "warp", noted)

    class One:
        keys = ("a",)

        def image(self, index):
            return torch.zeros(3, 2, 4, dtype=torch.uint8)

        def label(self, index):
            return torch.tensor([[1, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.uint8)

    class Wanting(NamedTuple):
        share: float

        def draw(self, seed, position):
            return Draw(0, category=1, share=self.share)

    sets = TrainingSet(One(), (4, 2)), TrainingSet(One(), (4, 2))
    shared = {"seed": 0, "batch_size": 1, "augmentation": replace(AS_THEY_ARE, crop=[1, 1])}
    shown = [
        np.mean([int(Steps(*sets, **shared, source_order=o)[i][0].label) for i in range(100)])
        for o in (UniformOrder("source", 1), Wanting(0.0), Wanting(0.99), Wanting(1.0))
    ]
    # 1/8 against 1 - (7/8)^11 = 0.77; more than the whole view is not to be had.
    assert shown[0] < 0.3 < 0.6 < shown[1] == shown[2] and shown[3] < 0.3
    assert kinds.count("image") == 800


@pytest.mark.parametrize("share", [-0.1, 1.0, 3.5])
def test_a_share_that_no_view_can_exceed_is_refused(share):
    with pytest.raises(ValueError, match=rf"sampler\.min_crop_share must be .* got {share}"):
        RareClass(statistics=None, temperature=1.0, min_pixels=0, min_crop_share=share)


def test_the_share_of_a_crop_is_the_releases_count():
    share = composed("sampler=rare_class", "dataset=gta2city").sampler.min_crop_share
    assert [int(share * side * side) for side in (512, 1024)] == [1500, 6000]


class Positions:
    """A store that keeps, of every pixel of a picture, where it is."""

    kind, stride = "label", 1

    def __init__(self, size):
        self.size = size

    def read(self, key):
        return torch.arange(self.size[0] * self.size[1]).reshape(self.size[::-1])


def test_what_is_stored_is_seen_as_the_image_is(pair):
    """No label of the target exists, and strong views, whole images and stores come along."""
    for file in (pair.target.images.root / "gtFine" / "train").rglob("*.png"):
        file.unlink()
    weak = WeakStrong(
        width=6, scale_range=[1.0, 2.0], crop=[4, 3], mirror=0.5, whole=True, strong=True
    )
    stored = {"positions": Positions((6, 4)), "soft": Soft()}
    for workers in (0, 1):
        for _, target in batches(pair.augmented(weak), range(3), workers=workers, stored=stored):
            assert target.image.shape == target.strong.shape == (2, 3, 3, 4)
            assert target.whole.shape == (2, 3, 4, 6)
            assert not hasattr(target, "label")
            for i, (key, view) in enumerate(zip(target.key, target.view, strict=True)):
                whole = pair.target.image(pair.target.keys.index(key))
                assert torch.equal(target.whole[i], whole)
                assert torch.equal(
                    target.image[i], warp(whole, view, kind="image", filter="bilinear")
                )
                kept = warp(Positions((6, 4)).read(key), view, kind="label")
                assert torch.equal(target.stored["positions"][i], kept)
            assert target.stored["soft"].shape == (2, 5, 1, 2)
            torch.testing.assert_close(target.stored["soft"].sum(1), torch.ones(2, 1, 2))


class Soft:
    """Uniform probabilities at a small size."""

    kind, stride = "soft", 2

    def read(self, key):
        return torch.full((5, 2, 3), 0.2)


@pytest.mark.parametrize("choice", ["uniform", "class_balanced", "rare_class"])
def test_presets_build(choice):
    built = build.build(composed(f"sampler={choice}").sampler, "sampler")
    assert isinstance(built, samplers.Sampler)


@pytest.mark.parametrize("choice", ["none", "maxsquare", "weak_strong", "ratio_crop"])
def test_augmentation_presets_build(choice):
    built = build.build(composed(f"augmentation={choice}").augmentation, "augmentation")
    assert isinstance(built, Augmentation)
    assert (built == AS_THEY_ARE) == (choice == "none")


def test_a_portion_shows_its_images_and_no_others(pair, tmp_path):
    shown = {}
    for share, draw in ((0.25, 0), (0.5, 0), (0.25, 1)):
        count = int(40 * share)
        order = PortionOrder(40, count, draw)
        passes = [[order.draw(3, one * count + i).index for i in range(count)] for one in (0, 1)]
        assert sorted(passes[0]) == sorted(passes[1]) != passes[1]
        assert len({*passes[0]}) == count
        shown[share, draw] = {*passes[0]}
    assert shown[0.25, 0] < shown[0.5, 0]
    assert shown[0.25, 1] != shown[0.25, 0]
    for share, count in ((0.001, 1), (0.5, 2), (1.0, 5)):
        order = Portion(share=share, draw=0).order(pair.source.images, scan=tmp_path)
        assert (order.size, order.count) == (5, count)
    with pytest.raises(ValueError, match=r"sampler\.share must be in \(0, 1\]"):
        Portion(share=0.0, draw=0)
