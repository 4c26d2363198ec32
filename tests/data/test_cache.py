import fcntl
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from layouts import cityscapes_folder, gta5_folder, write_image, write_palette_label

from tests.conftest import SMALL, composed
from uda_hydra import build
from uda_hydra.data import cache, store
from uda_hydra.data.cache import Cached, fill
from uda_hydra.data.readers import UnreadableFile, cityscapes, gta5
from uda_hydra.data.samples import Resized
from uda_hydra.data.streams import load
from uda_hydra.engine.events import Run
from uda_hydra.errors import UserError

SMALLER = (3, 2)  # width, height


@pytest.fixture
def plain(tmp_path):
    root = gta5_folder(tmp_path / "GTA5", [1, 2, 3, 4, 5])
    return Resized(gta5(root, num_classes=19), SMALLER)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def decoded(monkeypatch):
    """Names of the files that are decoded from here on."""
    names = []
    for method in (Resized.image, Resized.label):

        def counting(self, index, method=method):
            sample = self.images.samples[index]
            file = sample.image if method.__name__ == "image" else sample.label
            names.append(f"{file.parent.name}/{file.name}")
            return method(self, index)

        monkeypatch.setattr(Resized, method.__name__, counting)
    return names


def filled(plain, folder):
    cached = Cached(plain, folder)
    fill(cached.stores)
    return cached


def entries(folder, name=""):
    return sorted(path for path in folder.glob("*/*") if name in str(path))


def assert_same(cached, plain):
    assert cached.keys == plain.keys
    for index in range(len(plain.keys)):
        assert torch.equal(cached.image(index), plain.image(index))
        assert torch.equal(cached.label(index), plain.label(index))


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
    plain = Resized(plain.images, size)
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
    plain = Resized(gta5(root, num_classes=19), (131, 97))
    assert_same(filled(plain, folder), plain)
    plain = Resized(plain.images, None)
    assert filled(plain, folder).label(1).shape == (70, 90)


def test_what_is_read_belongs_to_the_reader(plain, folder):
    cached = filled(plain, folder)
    cached.image(0).zero_()
    assert torch.equal(cached.image(0), plain.image(0))


def test_it_fills_itself_without_being_told(plain, folder, decoded):
    cached = Cached(plain, folder)
    cached.image(3)
    cached.image(3)
    assert decoded == ["images/00004.png"]
    fill(cached.stores)
    # One image and one label more to learn their size from.
    assert sorted(decoded[3:]).count("images/00004.png") == 0


@pytest.mark.parametrize("position", [0, 3, 4, 9, 15, 16, -1])
def test_a_flipped_bit_anywhere_is_noticed_and_mended(plain, folder, position, capsys):
    filled(plain, folder)
    (path,) = entries(folder, "images+00002.png")
    content = bytearray(path.read_bytes())
    content[position] ^= 4
    path.write_bytes(content)
    assert_same(Cached(plain, folder), plain)
    assert f"{path} is damaged" in capsys.readouterr().err
    assert_same(Cached(plain, folder), plain)
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    "change", [lambda b: b"", lambda b: b[:9], lambda b: b[:-1], lambda b: b + b"0"]
)
def test_an_entry_of_the_wrong_length_is_mended(plain, folder, change):
    filled(plain, folder)
    (path,) = entries(folder, "labels+00002.png")
    path.write_bytes(change(path.read_bytes()))
    assert_same(filled(plain, folder), plain)
    assert path.stat().st_size == 16 + 6


def test_a_changed_source_file_is_decoded_again_and_its_old_entry_goes(plain, folder, decoded):
    filled(plain, folder)
    count = len(entries(folder))
    first, second = (plain.images.samples[i].image for i in (0, 1))
    size, when = second.stat().st_size, second.stat().st_mtime_ns
    write_image(first, seed=70)
    os.utime(first, ns=(when, when))
    write_image(second, seed=71)
    os.utime(second, ns=(when + 1, when + 1))
    assert second.stat().st_size == size
    decoded.clear()
    again = filled(plain, folder)
    assert set(decoded) == {"images/00001.png", "images/00002.png"}
    assert_same(again, plain)
    assert len(entries(folder)) == count


def test_data_sets_sizes_and_classes_lie_apart_and_parts_of_a_set_together(
    tmp_path, folder, decoded
):
    root = gta5_folder(tmp_path / "GTA5", [1, 2, 3])
    shutil.copytree(root, tmp_path / "other" / "GTA5")
    write_image(tmp_path / "other" / "GTA5" / "images" / "00001.png", seed=9)
    (tmp_path / "list.txt").write_text("00002.png\n")
    some = gta5(root, num_classes=19, list_file=tmp_path / "list.txt")
    sets = [
        Resized(gta5(root, num_classes=19), SMALLER),
        Resized(gta5(root, num_classes=19), (2, 3)),
        Resized(gta5(root, num_classes=13), SMALLER),
        Resized(gta5(tmp_path / "other" / "GTA5", num_classes=19), SMALLER),
    ]
    caches = [filled(plain, folder) for plain in sets]
    for cached, plain in zip(caches, sets, strict=True):
        assert_same(cached, plain)
    # Images do not depend on the classes: 3 x (3 images and 3 labels) and 3 labels.
    assert len(entries(folder)) == 21
    decoded.clear()
    filled(Resized(some, SMALLER), folder)
    assert not decoded


def test_files_that_two_stores_share_are_decoded_once(plain, folder, decoded, capsys):
    fill([*Cached(plain, folder).stores, *Cached(plain, folder, labels=False).stores])
    assert "10 files" in capsys.readouterr().out
    # 5 images and 5 labels, and one of each to learn their size from.
    assert len(decoded) == 12


def test_equal_names_in_two_splits_are_two_files(tmp_path, folder):
    for split, name in (("train", "ulm_000000_000019"), ("val", "ulm_000000_000019")):
        cityscapes_folder(tmp_path / "C", split, [name])
    other = tmp_path / "C/leftImg8bit/val/ulm/ulm_000000_000019_leftImg8bit.png"
    write_image(other, seed=5)
    for split in ("train", "val"):
        plain = Resized(cityscapes(tmp_path / "C", num_classes=19, split=split), SMALLER)
        assert_same(filled(plain, folder), plain)


def test_without_labels_no_label_is_kept_or_looked_at(tmp_path, folder):
    root = cityscapes_folder(tmp_path / "C", "train", ["ulm_000000_000019"])
    shutil.rmtree(root / "gtFine")
    images = cityscapes(root, num_classes=19, split="train", labels=False)
    cached = Cached(Resized(images, SMALLER), folder, labels=False)
    fill(cached.stores)
    assert len(entries(folder)) == 1
    with pytest.raises(ValueError, match="opened without labels"):
        cached.label(0)
    with pytest.raises(ValueError, match="opened without labels"):
        Cached(Resized(images, SMALLER), folder)


def test_what_is_not_kept_is_decoded_each_time(plain, folder, decoded):
    cached = Cached(plain, folder, images=False)
    fill(cached.stores)
    decoded.clear()
    assert torch.equal(cached.image(1), cached.image(1))
    assert decoded == ["images/00002.png"] * 2


@pytest.mark.parametrize("workers", [1, 2])
def test_an_unreadable_file_is_named_and_never_kept(plain, folder, workers, monkeypatch):
    monkeypatch.setattr(cache, "_WORKER_FILES", 10 // workers)
    monkeypatch.setattr(cache, "_JOB_FILES", 1)
    bad = plain.images.samples[2].image
    bad.write_bytes(bad.read_bytes()[:-20])
    cached = Cached(plain, folder)
    for _ in range(2):
        with pytest.raises(UnreadableFile, match=r"images/00003\.png is cut short"):
            fill(cached.stores)
    assert not entries(folder, "00003.png")
    assert entries(folder, "images+00001.png")
    bad.unlink()
    for attempt in (lambda: fill(cached.stores), lambda: Cached(plain, folder).image(2)):
        with pytest.raises(UnreadableFile, match=r"00003\.png cannot be read \(No such file"):
            attempt()


def test_processes_make_the_same_cache(plain, folder, tmp_path, monkeypatch, capsys):
    filled(plain, folder)
    monkeypatch.setattr(cache, "_WORKER_FILES", 5)
    monkeypatch.setattr(cache, "_JOB_FILES", 2)
    filled(plain, tmp_path / "parallel")
    assert "cache: 10/10 files" in capsys.readouterr().err
    for one, other in zip(entries(folder), entries(tmp_path / "parallel"), strict=True):
        assert one.name == other.name
        assert one.read_bytes() == other.read_bytes()


DIE_AT = """
import os, signal, sys
from pathlib import Path
from uda_hydra.data import store
from uda_hydra.data.cache import Cached, fill
from uda_hydra.data.readers import gta5
from uda_hydra.data.samples import Resized

left = int(sys.argv[3])
replace = Path.replace

def dying(self, target):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)

Path.replace = dying
fill(Cached(Resized(gta5(Path(sys.argv[1]), num_classes=19), (3, 2)), Path(sys.argv[2])).stores)
"""


def test_a_killed_filling_goes_on_where_it_stopped(plain, folder, decoded):
    command = [sys.executable, "-c", DIE_AT, str(plain.images.root), str(folder), "8"]
    killed = subprocess.run(command, cwd=Path(cache.__file__).parents[2], capture_output=True)
    assert killed.returncode == -9
    (torn,) = entries(folder, ".partial")
    assert len(entries(folder)) == 7 + 1
    cached = filled(plain, folder)
    # Three labels, and the first of them once more to learn its size from.
    assert sorted(set(decoded)) == ["labels/00003.png", "labels/00004.png", "labels/00005.png"]
    assert_same(cached, plain)
    # Nobody knows whether its writer lives; a day later it does not.
    assert torn.exists()
    os.utime(torn, (time.time() - 86400,) * 2)
    plain.images.samples[0].image.touch()
    filled(plain, folder)
    assert not torn.exists()
    assert len(entries(folder)) == 10


def test_a_second_process_waits_and_finds_the_work_done(plain, folder, decoded, capsys):
    waiting, working = Cached(plain, folder), Cached(plain, folder)
    folder.mkdir()
    said = ""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(target=fill, args=[waiting.stores])
        thread.start()
        while "another process is filling" not in said:
            said += capsys.readouterr().err
            time.sleep(0.01)
        for one in working.stores:
            for index in range(5):
                one.build(index)
    thread.join()
    assert len(decoded) == 10
    assert not capsys.readouterr().out


def test_the_space_is_told_first_and_checked(plain, folder, monkeypatch, capsys):
    """5 images of 3 x 2 x 3 bytes and 5 labels of 3 x 2: 120 bytes."""
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: usage(119))
    with pytest.raises(UserError, match=r"dataset\.cache_folder=.*dataset\.cache=false"):
        fill(Cached(plain, folder).stores)
    assert not entries(folder)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: usage(120))
    fill(Cached(plain, folder).stores)
    assert f"decoding 10 files once, 0.00 GB in {folder}" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_named(plain, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"dataset\.cache_folder=.*/file/cache .*cache=false"):
        fill(Cached(plain, tmp_path / "file" / "cache").stores)


def test_a_full_disk_leaves_no_torn_entry(plain, folder, monkeypatch):
    write = Path.write_bytes

    def half(self, content):
        write(self, content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(store.Path, "write_bytes", half)
        with pytest.raises(UserError, match=r"No space left.*dataset\.cache_folder"):
            fill(Cached(plain, folder).stores)
    assert not entries(folder)
    assert_same(filled(plain, folder), plain)


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
        kept = f"dataset.cache_folder={tmp_path}/cache"
        with_it = trained(make_trainer, tmp_path / name, workers, kept)
        assert bool(decoded) == (name == "b")
        weights = with_it.method.state_dict()
        for key, value in without.method.state_dict().items():
            assert torch.equal(weights[key], value), key
        np.testing.assert_array_equal(with_it.last.confusion, without.last.confusion)


def test_evaluation_alone_does_not_decode_the_training_set(streets, folder, decoded):
    config = composed(*SMALL, f"dataset.root={streets}", f"dataset.cache_folder={folder}")
    pair = build.pair(config)
    assert not decoded
    assert len([*pair.validate(workers=0)]) == 3
    assert len(entries(folder)) == 6
    pair.prepare()
    # 6 source images and labels, 6 target images, no target label.
    assert len(entries(folder)) == 6 + 18
    assert not entries(folder, "gtFine+train")
