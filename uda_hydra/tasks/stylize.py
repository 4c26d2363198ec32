"""Stylize: the source data set once more, its images in the style of others."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from random import Random

import cv2
import torch
from jaxtyping import Real, UInt8
from omegaconf import DictConfig
from torch import Tensor

from uda_hydra import build
from uda_hydra.augment.style import Restyling
from uda_hydra.config import plain
from uda_hydra.data.counting import Count
from uda_hydra.data.pair import Pair
from uda_hydra.data.pictures import read_rgb
from uda_hydra.data.streams import seed_of
from uda_hydra.data.walk import files_below
from uda_hydra.errors import UserError
from uda_hydra.files import read_json, remove_leftovers, write_atomically, write_json
from uda_hydra.inputs import shown
from uda_hydra.runs.layout import check_folder, mark_folder
from uda_hydra.tasks.predict import find_images

RECORD = "stylized.json"
"""Says what made the images of a folder."""
BEST_JPEG = [
    *(cv2.IMWRITE_JPEG_QUALITY, 100),
    *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
]


def stylize(config: DictConfig, overrides: list[str]) -> None:
    """Write the source's images, restyled by ``augmentation``, to ``output``.

    They have the paths and sizes of the originals, and every other file of the data set lies next
    to them as a hard link or a copy, so that ``dataset.source.root`` may name the folder; in the
    layout folders, ``dataset.source.images``, and nothing else is needed. Styles are drawn from
    ``seed`` for each image. The same command again makes what is missing.
    """
    if config.output is None:
        raise UserError("task=stylize needs output=FOLDER: where the images are written")
    folder = Path(config.output)
    check_folder(folder, "stylized data set")
    restyling = build.build(config.augmentation, "augmentation")
    if not isinstance(restyling, Restyling):
        raise UserError("task=stylize needs augmentation=restyle or augmentation=adain")
    pair = build.pair(config)
    source = pair.source.images
    key = "images" if "images" in config.dataset.source else "root"
    root = Path(source.root) if key == "root" else Path(config.dataset.source.images).absolute()
    inside = folder.resolve().is_relative_to(root.resolve())
    if inside or root.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"output={shown(folder)} is not apart from the data set; choose another")
    styles = _styles(config.input, pair, restyling.styles, folder)
    _record(folder, config, pair)

    count, made = Count("stylize"), set()
    for done, sample in enumerate(source.samples, start=1):
        path = folder / sample.image.relative_to(root)
        made.add(path)
        if not path.is_file():
            random = Random(seed_of(config.seed, "style", sample.key))
            chosen = [_read(style) for style in random.sample(styles, restyling.styles)]
            _write(path, restyling.restyle(_read(sample.image), chosen, random))
        count(done, len(source.samples))
    linked = _link_others(root, folder, made) if key == "root" else 0
    print(f"{len(made)} images restyled and {linked} other files linked in {shown(folder)}; "
          f"train with dataset.source.{key}={shown(folder)}")  # fmt: skip


def _styles(folder: str | None, pair: Pair, needed: int, output: Path) -> list[Path]:
    """The style images: those below ``folder``, or all training images of the target."""
    if folder is None:
        found = [sample.image for sample in pair.target.images.samples]
    else:
        found = find_images(Path(folder), output)
    if len(found) < needed:
        raise UserError(
            f"{needed} styles are mixed and only {len(found)} images were found; set "
            "augmentation.styles or give input=FOLDER with more of them"
        )
    return found


def _record(folder: Path, config: DictConfig, pair: Pair) -> None:
    """Write down what makes the images; UserError where something else has made those there."""
    data = pair.fingerprint()
    values = {
        "source": data["source"],
        "styles": data["target"] if config.input is None else str(Path(config.input).resolve()),
        "augmentation": plain(config.augmentation),
        "seed": config.seed,
    }
    former = read_json(folder / RECORD)
    if former is not None and former != values:
        changed = ", ".join(key for key in values if former.get(key) != values[key])
        raise UserError(
            f"output={shown(folder)} holds images of another {changed}; choose another folder"
        )
    if former is None and folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"output={shown(folder)} holds other files; choose a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RECORD, values)
    mark_folder(folder, "stylized data set")
    remove_leftovers(folder, below=True)


def _read(path: Path) -> UInt8[Tensor, "3 h w"]:
    return torch.from_numpy(read_rgb(path)).permute(2, 0, 1)


def _write(path: Path, image: Real[Tensor, "3 h w"]) -> None:
    """Clipped and rounded to 8 bits, in the format that the name asks for, at its best quality."""
    rgb = image.float().clamp(0, 255).round().byte()
    pixels = rgb.flip(0).permute(1, 2, 0).contiguous().numpy()
    jpeg = path.suffix.lower() in (".jpg", ".jpeg")
    data = cv2.imencode(path.suffix, pixels, BEST_JPEG if jpeg else [])[1].tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda temporary: temporary.write_bytes(data))


def _link_others(root: Path, folder: Path, made: set[Path]) -> int:
    """Link every other file of the data set, or copy it where links cannot be; returns how many."""
    count = 0
    for file in files_below(root):
        path = folder / file.relative_to(root)
        if path in made:
            continue
        count += 1
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # Not the link that a file may be itself, which leads nowhere from another folder.
            os.link(file.resolve(), path)
        except OSError:
            write_atomically(path, lambda copy, file=file: shutil.copyfile(file, copy))
    return count
