import os
import pickle
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from caching import SMALLER, assert_same, entries, filled
from layouts import cityscapes_folder, gta5_folder, write_image, write_palette_label

from tests.conftest import SMALL, composed
from uda_hydra import build
from uda_hydra.data import cache
from uda_hydra.data.cache import CachedImages, fill
from uda_hydra.data.labels import CITYSCAPES19, SYNTHIA13
from uda_hydra.data.readers.cityscapes import cityscapes
from uda_hydra.data.readers.folders import folders
from uda_hydra.data.readers.gta5 import gta5
from uda_hydra.data.samples import ResizedImages
from uda_hydra.data.streams import load
from uda_hydra.engine.events import Run


def test_an_entry_is_checksum_shape_and_pixels(plain, folder):
    """The 3 x 2 centres of the label all lie on road, train id 0."""
    filled(plain, folder)
    (path,) = entries(folder, "labels+00001.png")
    checksum, *shape = np.frombuffer(path.read_bytes()[:16], "<u4").tolist()
    assert shape == [1, 2, 3]
    assert path.read_bytes()[16:] == bytes(6)
    # The definition of CRC-32, bit by bit.
    register = 0xFFFFFFFF
    for byte in path.read_bytes()[4:]:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0xEDB88320 if register & 1 else 0)
    assert checksum == register ^ 0xFFFFFFFF


@pytest.mark.parametrize("size", [SMALLER, None])
def test_reads_what_decoding_gives_and_decodes_nothing_twice(plain, folder, decoded, size):
    plain = ResizedImages(plain.images, size)
    filled(plain, folder)
    assert sorted(set(decoded)) == sorted(
        f"{kind}/0000{i}.png" for kind in ("images", "labels") for i in range(1, 6)
    )
    decoded.clear()
    again = filled(plain, folder)
    values = [(again.image(i), again.label(i)) for i in range(5)]
    assert not decoded
    for index, (image, label) in enumerate(values):
        assert torch.equal(image, plain.image(index))
        assert torch.equal(label, plain.label(index))
        assert image.dtype == label.dtype == torch.uint8


def test_images_larger_than_a_page_and_labels_of_many_sizes(tmp_path, folder):
    root = gta5_folder(tmp_path / "GTA5", [1, 2])
    write_palette_label(root / "labels" / "00002.png", np.full((70, 90), 7, np.uint8))
    plain = ResizedImages(gta5(root, label_space=CITYSCAPES19), (131, 97))
    assert_same(filled(plain, folder), plain)
    plain = ResizedImages(plain.images, None)
    assert filled(plain, folder).label(1).shape == (70, 90)


def test_what_is_read_belongs_to_the_reader(plain, folder):
    cached = filled(plain, folder)
    cached.image(0).zero_()
    assert torch.equal(cached.image(0), plain.image(0))


def test_it_fills_itself_without_being_told(plain, folder, decoded):
    cached = CachedImages(plain, folder)
    cached.image(3)
    cached.image(3)
    assert decoded == ["images/00004.png"]
    fill(cached.stores)
    # One image and one label more to learn their size from.
    assert sorted(decoded[3:]).count("images/00004.png") == 0


def test_only_the_same_data_at_the_same_size_is_shared(tmp_path, folder, decoded):
    root = gta5_folder(tmp_path / "GTA5", [1, 2, 3])
    shutil.copytree(root, tmp_path / "other" / "GTA5")
    write_image(tmp_path / "other" / "GTA5" / "images" / "00001.png", seed=9)
    (tmp_path / "list.txt").write_text("00002.png\n")
    some = gta5(root, label_space=CITYSCAPES19, list_file=tmp_path / "list.txt")
    sets = [
        ResizedImages(gta5(root, label_space=CITYSCAPES19), SMALLER),
        ResizedImages(gta5(root, label_space=CITYSCAPES19), (2, 3)),
        ResizedImages(gta5(root, label_space=SYNTHIA13), SMALLER),
        ResizedImages(gta5(tmp_path / "other" / "GTA5", label_space=CITYSCAPES19), SMALLER),
    ]
    caches = [filled(plain, folder) for plain in sets]
    for cached, plain in zip(caches, sets, strict=True):
        assert_same(cached, plain)
    # Images do not depend on the classes: 3 x (3 images and 3 labels) and 3 labels.
    assert len(entries(folder)) == 21
    decoded.clear()
    filled(ResizedImages(some, SMALLER), folder)
    assert not decoded


def test_labels_made_with_another_class_table_are_not_used(plain, folder):
    filled(plain, folder)
    # Road, raw id 7, becomes class 1.
    ids = plain.images.layout.ids | {"road": (8,), "sidewalk": (7,)}
    layout = replace(plain.images.layout, ids=ids)
    other = ResizedImages(replace(plain.images, layout=layout), SMALLER)
    assert CachedImages(plain, folder).label(0).unique().tolist() == [0]
    assert CachedImages(other, folder).label(0).unique().tolist() == [1]


def test_files_that_two_stores_share_are_decoded_once(plain, folder, decoded, capsys):
    fill([*CachedImages(plain, folder).stores, *CachedImages(plain, folder, labels=False).stores])
    assert "10 files" in capsys.readouterr().out
    # 5 images and 5 labels, and one of each to learn their size from.
    assert len(decoded) == 12


def test_equal_names_in_two_splits_are_two_files(tmp_path, folder):
    for split, name in (("train", "ulm_000000_000019"), ("val", "ulm_000000_000019")):
        cityscapes_folder(tmp_path / "C", split, [name])
    other = tmp_path / "C/leftImg8bit/val/ulm/ulm_000000_000019_leftImg8bit.png"
    write_image(other, seed=5)
    for split in ("train", "val"):
        plain = ResizedImages(
            cityscapes(tmp_path / "C", label_space=CITYSCAPES19, split=split), SMALLER
        )
        assert_same(filled(plain, folder), plain)


def test_a_plus_in_a_name_is_no_folder(tmp_path, folder):
    """Of one size and time, as files of a copied data set may be."""
    for value, name in enumerate(("a/b", "a+b"), start=1):
        path = tmp_path / f"own/{name}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((8, 16, 3), value, np.uint8))
        os.utime(path, (1, 1))
    found = folders(label_space=CITYSCAPES19, labelled=False, images=tmp_path / "own")
    plain = ResizedImages(found, (16, 8))
    kept = CachedImages(plain, folder, labels=False)
    assert [int(kept.image(i).max()) for i in range(2)] == [
        int(plain.image(i).max()) for i in range(2)
    ]


def test_without_labels_no_label_is_kept_or_looked_at(tmp_path, folder):
    root = cityscapes_folder(tmp_path / "C", "train", ["ulm_000000_000019"])
    shutil.rmtree(root / "gtFine")
    images = cityscapes(root, label_space=CITYSCAPES19, split="train", labelled=False)
    cached = CachedImages(ResizedImages(images, SMALLER), folder, labels=False)
    fill(cached.stores)
    assert len(entries(folder)) == 1
    with pytest.raises(ValueError, match="opened without labels"):
        cached.label(0)
    with pytest.raises(ValueError, match="opened without labels"):
        CachedImages(ResizedImages(images, SMALLER), folder)


def test_what_is_not_kept_is_decoded_each_time(plain, folder, decoded):
    cached = CachedImages(plain, folder, images=False)
    fill(cached.stores)
    decoded.clear()
    assert torch.equal(cached.image(1), cached.image(1))
    assert decoded == ["images/00002.png"] * 2


def test_processes_make_the_same_cache(plain, folder, tmp_path, monkeypatch, capsys):
    filled(plain, folder)
    monkeypatch.setattr(cache, "_WORKER_FILES", 5)
    monkeypatch.setattr(cache, "_JOB_FILES", 2)
    filled(plain, tmp_path / "parallel")
    assert "cache: 10/10 files" in capsys.readouterr().err
    for one, other in zip(entries(folder), entries(tmp_path / "parallel"), strict=True):
        assert one.name == other.name
        assert one.read_bytes() == other.read_bytes()


class Items(torch.utils.data.Dataset):
    def __init__(self, cached):
        self.cached = cached

    def __getitem__(self, index):
        return self.cached.image(index), self.cached.label(index)


def test_worker_processes_read_it(plain, folder):
    cached = filled(plain, folder)
    cached.image(0)
    for copy in (cached, pickle.loads(pickle.dumps(cached))):
        for index, (image, label) in enumerate(load(Items(copy), range(5), workers=2)):
            assert torch.equal(image, plain.image(index))
            assert torch.equal(label, plain.label(index))


def trained(make_trainer, folder, workers, *overrides):
    """Weights and confusion after three steps of training."""
    trainer = make_trainer(
        "method=source_only",
        "trainer.steps=3",
        f"trainer.workers={workers}",
        *overrides,
        folder=folder,
    )
    trainer.restore()
    trainer.fit(Run("cache", folder, steps=3, start=0, config={}))
    return trainer


@pytest.mark.parametrize("workers", [0, 2])
def test_training_from_the_cache_is_bit_identical(make_trainer, tmp_path, workers, decoded):
    without = trained(make_trainer, tmp_path / "a", workers, "dataset.cache=false")
    for name in ("b", "c"):
        decoded.clear()
        kept = ("dataset.cache=true", f"dataset.cache_folder={tmp_path}/cache")
        with_it = trained(make_trainer, tmp_path / name, workers, *kept)
        assert bool(decoded) == (name == "b")
        weights = with_it.method.state_dict()
        for key, value in without.method.state_dict().items():
            assert torch.equal(weights[key], value), key
        np.testing.assert_array_equal(with_it.last.confusion, without.last.confusion)


def test_evaluation_alone_does_not_decode_the_training_set(streets, folder, decoded):
    kept = ("dataset.cache=true", f"dataset.cache_folder={folder}")
    config = composed(*SMALL, f"dataset.root={streets}", *kept)
    pair = build.pair(config)
    assert not decoded
    assert [one.label.shape for one in pair.validate(workers=0)] == [(64, 128)] * 3
    assert len(entries(folder)) == 6
    pair.streams(seed=0, steps=range(1), batch_size=1, workers=0, pin=False)
    # 6 source images and labels and 2 held-out ones, 6 target images, no target label.
    assert len(entries(folder)) == 6 + 16 + 6
    assert not entries(folder, "gtFine+train")
