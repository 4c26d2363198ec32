"""Predict: label maps, colour maps and overlays for any folder of images."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from omegaconf import DictConfig

from uda_hydra import build
from uda_hydra.augment.resize import resize_image
from uda_hydra.config import settings
from uda_hydra.data.label_space import LabelSpace
from uda_hydra.data.labels import label_space
from uda_hydra.data.readers import read_rgb
from uda_hydra.engine.device import find_device, uses_bfloat16
from uda_hydra.engine.evaluator import check_classes
from uda_hydra.engine.protocols import input_sizes, label_map, look
from uda_hydra.errors import UserError
from uda_hydra.files import write_atomically, write_json
from uda_hydra.runs.layout import check_folder, mark_folder

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
PERIOD = 15.0
"""Seconds between two lines of progress in a pipe."""


@torch.inference_mode()
def predict(config: DictConfig, overrides: list[str]) -> None:
    """Write ``labels/``, ``colours/`` and ``overlays/`` below ``output``, one PNG an image.

    The network is that of task=evaluate and is shown the images as ``evaluation`` says. Label maps
    are of the images' own size and hold the class numbers of the label space, which
    ``classes.json`` names. An image that cannot be read fails alone; a UserError lists all such.
    """
    build.check_predictor(config)
    if config.input is None:
        raise UserError("task=predict needs input=FOLDER: the images to predict")
    source = Path(config.input)
    folder = Path(config.output or f"outputs/predictions/{source.resolve().name}")
    check_folder(folder, "prediction", writes=["labels", "colours", "overlays", "classes.json"])
    names = name_outputs(find_images(source, folder), source)
    space = label_space(config.dataset.classes)
    label_image = _predictor(config, space)
    mark_folder(folder, "prediction")
    failed, printed = [], time.monotonic()
    for done, (path, name) in enumerate(names.items(), 1):
        try:
            image = read_rgb(path)
        except (UserError, OSError) as error:
            failed.append(str(error))
        else:
            _write(folder, name, image, label_image(image), space)
        printed = _show(done, len(names), printed)
    write_json(folder / "classes.json", dict(enumerate(space.names)))
    print(f"{len(names) - len(failed)} of {len(names)} images predicted, in {folder}")
    if failed:
        raise UserError("\n".join([f"no prediction for {len(failed)} images:", *failed]))


def find_images(source: Path, folder: Path) -> list[Path]:
    """Images below ``source``, sorted, without hidden files and what lies in ``folder``."""
    if not source.is_dir():
        raise UserError(f"input={source}: there is no such folder")
    written = [(folder / part).resolve() for part in ("labels", "colours", "overlays")]
    files = [
        path
        for path in sorted(source.rglob("*"))
        if path.suffix.lower() in ENDINGS
        and not any(part.startswith(".") for part in path.relative_to(source).parts)
        and not any(path.resolve().is_relative_to(one) for one in written)
    ]
    if not files:
        raise UserError(f"input={source} holds no image ({', '.join(ENDINGS)})")
    return files


def name_outputs(files: list[Path], source: Path) -> dict[Path, Path]:
    """Relative path of each image's PNGs.

    It is that of the image with the ending .png. Where two images would share one, as x.png and
    x.jpg would, .png is appended to the whole names of all images.
    """
    names = [path.relative_to(source) for path in files]
    short = [name.with_suffix(".png") for name in names]
    # Compared without case: some file systems know none.
    if len({str(name).lower() for name in short}) < len(short):
        short = [name.with_name(f"{name.name}.png") for name in names]
    return dict(zip(files, short, strict=True))


def _predictor(
    config: DictConfig, label_space: LabelSpace
) -> Callable[[UInt8[np.ndarray, "h w 3"]], UInt8[np.ndarray, "h w"]]:
    """From an RGB image to its label map, by the config's weights and evaluation protocol."""
    device = find_device(config.trainer.device)
    bfloat16 = uses_bfloat16(config.trainer.precision, device)
    protocol = settings(config.evaluation)
    sizes = input_sizes(protocol, tuple(config.dataset.target.size))
    network = build.predictor(config).to(device).eval()

    def label_image(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w"]:
        resized = (resize_image(image, size, filter=protocol.filter) for size in sizes)
        inputs = [torch.from_numpy(one).permute(2, 0, 1) for one in resized]
        looks = look(network, inputs, protocol, device=device, bfloat16=bfloat16)
        check_classes(looks, label_space)
        return label_map(looks, image.shape[:2], protocol).cpu().numpy()

    return label_image


def _write(
    folder: Path,
    name: Path,
    image: UInt8[np.ndarray, "h w 3"],
    labels: UInt8[np.ndarray, "h w"],
    label_space: LabelSpace,
) -> None:
    colours = label_space.colourise(labels)
    overlay = cv2.addWeighted(image, 0.5, colours, 0.5, 0)
    pictures = {"labels": labels, "colours": colours[..., ::-1], "overlays": overlay[..., ::-1]}
    for part, picture in pictures.items():
        path = folder / part / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = cv2.imencode(".png", picture)[1].tobytes()
        write_atomically(path, lambda temporary, data=data: temporary.write_bytes(data))


def _show(done: int, total: int, printed: float) -> float:
    """Print progress where it is due; returns when it was printed last."""
    now = time.monotonic()
    if sys.stderr.isatty():
        end = "\n" if done == total else "\r"
        print(f"{done}/{total}", end=end, file=sys.stderr, flush=True)
    elif now - printed >= PERIOD:
        print(f"{done}/{total}", file=sys.stderr, flush=True)
    else:
        return printed
    return now
