import fcntl
import os
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from caching import assert_same, entries, filled
from layouts import write_image
from PIL import Image

from uda_hydra.data import cache, store
from uda_hydra.data.cache import CachedImages, fill
from uda_hydra.data.readers import UnreadableFile
from uda_hydra.errors import UserError


@pytest.mark.parametrize("position", [0, 3, 4, 9, 15, 16, -1])
def test_a_flipped_bit_anywhere_is_noticed_and_mended(plain, folder, position, capsys):
    filled(plain, folder)
    (path,) = entries(folder, "images+00002.png")
    content = bytearray(path.read_bytes())
    content[position] ^= 4
    path.write_bytes(content)
    assert_same(CachedImages(plain, folder), plain)
    assert f"{path} is damaged" in capsys.readouterr().err
    assert_same(CachedImages(plain, folder), plain)
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    "change", [lambda b: b"", lambda b: b[:9], lambda b: b[:-1], lambda b: b + b"0"]
)
def test_an_entry_of_the_wrong_length_is_mended(plain, folder, change):
    filled(plain, folder)
    (path,) = entries(folder, "labels+00002.png")
    reader = CachedImages(plain, folder)
    reader.label(1)
    # A process that has compared the checksum before still looks at the length.
    for cached in (reader, filled(plain, folder)):
        path.write_bytes(change(path.read_bytes()))
        assert_same(cached, plain)
        assert path.stat().st_size == 16 + 6


def test_a_changed_source_file_is_decoded_again_and_its_old_entry_goes(plain, folder, decoded):
    filled(plain, folder)
    count = len(entries(folder))
    first, second = (plain.images.samples[i].image for i in (0, 1))
    before = first.stat(), second.stat()
    # Another size at the same time, and the same size at another time.
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(first)
    os.utime(first, ns=(0, before[0].st_mtime_ns))
    write_image(second, seed=71)
    os.utime(second, ns=(0, before[1].st_mtime_ns + 1))
    assert first.stat().st_size != before[0].st_size
    assert second.stat().st_size == before[1].st_size
    decoded.clear()
    again = filled(plain, folder)
    assert set(decoded) == {"images/00001.png", "images/00002.png"}
    assert_same(again, plain)
    assert len(entries(folder)) == count


@pytest.mark.parametrize("workers", [1, 2])
def test_an_unreadable_file_is_named_and_never_kept(plain, folder, workers, monkeypatch):
    monkeypatch.setattr(cache, "_WORKER_FILES", 10 // workers)
    monkeypatch.setattr(cache, "_JOB_FILES", 1)
    bad = plain.images.samples[2].image
    bad.write_bytes(bad.read_bytes()[:-20])
    cached = CachedImages(plain, folder)
    for _ in range(2):
        with pytest.raises(UnreadableFile, match=r"images/00003\.png is cut short"):
            fill(cached.stores)
    assert not entries(folder, "images+00003.png")
    assert entries(folder, "images+00001.png")
    bad.unlink()
    for attempt in (lambda: fill(cached.stores), lambda: CachedImages(plain, folder).image(2)):
        with pytest.raises(UnreadableFile, match=r"00003\.png cannot be read \(No such file"):
            attempt()


DIE_AT = """
import os, signal, sys
from pathlib import Path
from uda_hydra.data import store
from uda_hydra.data.cache import CachedImages, fill
from uda_hydra.data.labels import CITYSCAPES19
from uda_hydra.data.readers.gta5 import gta5
from uda_hydra.data.samples import ResizedImages

left = int(sys.argv[3])
replace = Path.replace

def dying(self, target):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)

Path.replace = dying
images = gta5(Path(sys.argv[1]), label_space=CITYSCAPES19)
fill(CachedImages(ResizedImages(images, (3, 2)), Path(sys.argv[2])).stores)
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
    # Its writer may be alive for all we know; a day later it is not.
    assert torn.exists()
    os.utime(torn, (time.time() - 86400,) * 2)
    plain.images.samples[0].label.touch()
    filled(plain, folder)
    assert not torn.exists()
    assert len(entries(folder)) == 10


def test_a_second_process_waits_and_finds_the_work_done(plain, folder, decoded, capsys):
    waiting, working = CachedImages(plain, folder), CachedImages(plain, folder)
    folder.mkdir()
    said = ""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread = threading.Thread(target=fill, args=[waiting.stores])
        thread.start()
        while f"waiting for {folder} (another process" not in said:
            said += capsys.readouterr().out
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
        fill(CachedImages(plain, folder).stores)
    assert not entries(folder)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: usage(120))
    fill(CachedImages(plain, folder).stores)
    assert f"decoding 10 files once, 0.00 GB in {folder}" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_is_named(plain, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"dataset\.cache_folder=.*/file/cache .*cache=false"):
        fill(CachedImages(plain, tmp_path / "file" / "cache").stores)


def test_a_full_disk_leaves_no_torn_entry(plain, folder, monkeypatch):
    write = Path.write_bytes

    def half(self, content):
        write(self, content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(store.Path, "write_bytes", half)
        with pytest.raises(UserError, match=r"No space left.*dataset\.cache_folder"):
            fill(CachedImages(plain, folder).stores)
    assert not entries(folder)
    assert_same(filled(plain, folder), plain)
