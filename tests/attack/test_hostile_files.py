"""Files from strangers: read, or refused in one line that names them; never more."""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.attack import readers
from tests.attack.conftest import refused
from tests.attack.mutation import PNG, mutate, png_chunk
from tests.attack.processes import FORK, Attacked
from tests.attack.targets import SHARED, TINY, TRAINING, UNTRACKED
from uda_hydra.files import printable


def pictures(folder: Path) -> list[Path]:
    """Small valid pictures of every format that somebody might have."""
    rng = np.random.default_rng(0)
    colours = Image.fromarray(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8))
    ids = Image.fromarray(rng.integers(0, 19, (48, 64), dtype=np.uint8))
    deep = Image.fromarray(rng.integers(0, 23, (48, 64), dtype=np.uint16))
    for ending in ("png", "jpg", "bmp", "tif", "webp", "gif"):
        colours.save(folder / f"colours.{ending}")
    colours.save(folder / "progressive.jpg", progressive=True)
    colours.convert("P").save(folder / "palette.png")
    ids.save(folder / "ids.png")
    ids.convert("1").save(folder / "bits.png")
    deep.save(folder / "deep.png")
    return sorted(folder.iterdir())


def weights(folder: Path) -> list[Path]:
    """The same weights in each form in which they may come."""
    state = dict(readers.meant())
    torch.save({"method": {f"segmenter.{n}": v for n, v in state.items()}}, folder / "ours.pt")
    torch.save(state, folder / "flat.pt")
    torch.save(state, folder / "old.pth", _use_new_zipfile_serialization=False)
    save_file(state, folder / "flat.safetensors")
    return sorted(folder.iterdir())


def lists(folder: Path) -> list[Path]:
    names = "".join(f"{number:05}.png\n" for number in range(30))
    (folder / "plain.txt").write_text(names)
    (folder / "windows.txt").write_text(names.replace("\n", "\r\n"), encoding="utf-16")
    return sorted(folder.iterdir())


VALID = dict.fromkeys(readers.READERS, pictures) | {"weights": weights, "list": lists}


def in_a_process(work: Callable[..., None], report: Path, *arguments: object) -> None:
    """Do ``work``, which writes what is wrong to ``report``; fails if it does or dies."""
    process = FORK.Process(target=work, args=(*arguments, report))
    process.start()
    process.join()
    assert not report.read_text()
    assert process.exitcode == 0, f"the last file ended the process: {process.exitcode}"


@pytest.mark.parametrize("reader", VALID)
def test_a_mutated_file_is_read_or_refused_in_one_line(reader, tmp_path, draw, request):
    for name in ("valid", "mutated"):
        (tmp_path / name).mkdir()
    valid = VALID[reader](tmp_path / "valid")
    count = request.config.getoption("--attack-count") * (2 if reader == "weights" else 10)
    arguments = (reader, valid, tmp_path / "mutated", count, str(draw.random()))
    in_a_process(readers.read_mutated, tmp_path / "report.txt", *arguments)


def bomb(side: int) -> bytes:
    """A PNG of one grey, ``side`` pixels wide and high."""
    header = side.to_bytes(4, "big") * 2 + bytes((1, 0, 0, 0, 0))
    rows = zlib.compress(bytes(side * (side // 8 + 1)))
    return PNG + b"".join(
        png_chunk(*chunk) for chunk in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    )


def specials(folder: Path) -> None:
    """Names of pictures behind which there is none."""
    os.mkfifo(folder / "pipe.png")
    (folder / "endless.png").symlink_to("/dev/zero")
    (folder / "random.jpg").symlink_to("/dev/urandom")
    (folder / "terminal.png").symlink_to("/dev/tty")
    (folder / "itself.png").symlink_to("itself.png")
    (folder / "gone.png").symlink_to("nowhere.png")
    (folder / "folder.png").mkdir()
    (folder / "nothing.png").write_bytes(b"")
    (folder / "bomb.png").write_bytes(bomb(40_000))
    (folder / "postscript.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (folder / "\x1b[31mred\r.png").write_bytes(b"no picture")


@pytest.mark.parametrize("reader", ["image", "index label", "colour label", "SYNTHIA label"])
def test_what_is_no_picture_is_refused(reader, tmp_path):
    (tmp_path / "pictures").mkdir()
    specials(tmp_path / "pictures")
    paths = sorted((tmp_path / "pictures").iterdir())
    in_a_process(readers.judge_all, tmp_path / "report.txt", reader, paths)


def test_every_picture_gets_a_prediction_or_a_line(tmp_path, arena, draw, request):
    (tmp_path / "valid").mkdir()
    (tmp_path / "input").mkdir()
    valid = pictures(tmp_path / "valid")
    for number in range(request.config.getoption("--attack-count")):
        one, other = draw.choice(valid), draw.choice(valid)
        content = mutate(one.read_bytes(), other.read_bytes(), draw)
        (tmp_path / f"input/{number:05}{other.suffix}").write_bytes(content)
    specials(tmp_path / "input")
    given = [path for path in sorted((tmp_path / "input").iterdir()) if path.suffix != ".gif"]
    weights = arena / "training/run/source_only/last.pt"
    folder = arena / "hostile pictures"
    folder.mkdir()
    command = (*TINY, *SHARED, "task=predict", f"init={weights}", f"input={tmp_path / 'input'}")
    process = Attacked(folder, (*command, "output=drawn"))
    refused(process)
    assert printable(process.said) == process.said
    drawn = {path.stem.partition(".")[0] for path in (folder / "drawn/labels").iterdir()}
    lost = [p for p in given if p.stem not in drawn and printable(p.name) not in process.said]
    assert not [path for path in lost if not path.is_dir()]


@pytest.mark.parametrize("task", ["train", "check_data", "scan"])
def test_a_data_set_with_mutated_files_ends_in_one_message(task, tmp_path, arena, draw, request):
    (scenes,) = (arena / "shared/data/streets").glob("v*/Cityscapes")
    faults = []
    for number in range(max(2, request.config.getoption("--attack-count") // 25)):
        folder = arena / f"{task} on mutated files {number}"
        shutil.copytree(scenes.parent, folder / "data")
        files = [path for path in sorted(folder.rglob("*.png")) if draw.random() < 0.2]
        for path in files:
            path.write_bytes(mutate(path.read_bytes(), draw.choice(files).read_bytes(), draw))
        roots = (f"dataset.source.root={folder / 'data/GTA5'}",)
        roots = (*roots, f"dataset.target.root={folder / 'data/Cityscapes'}")
        process = Attacked(folder, (*TRAINING, *UNTRACKED, *roots, f"task={task}"))
        try:
            if process.finish():
                # A check ends in a report of all that is broken.
                refused(process, message="broken" if task == "check_data" else "error: ")
        except AssertionError as error:
            faults.append(f"in {folder}: {error}")
    assert not faults, "\n\n".join(faults)
