"""Predict: label maps, colour maps and overlays for any folder of images."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from omegaconf import DictConfig

from uda_hydra import build
from uda_hydra.augment.resize import resize_image
from uda_hydra.config import plain, settings
from uda_hydra.data.counting import Count
from uda_hydra.data.domain import check_size
from uda_hydra.data.label_space import LabelSpace
from uda_hydra.data.labels import label_space
from uda_hydra.data.pictures import ENDINGS, UnreadableFile, read_rgb
from uda_hydra.data.walk import files_below, is_hidden
from uda_hydra.engine.device import configure, find_device, uses_bfloat16
from uda_hydra.engine.evaluator import check_classes
from uda_hydra.engine.protocols import input_sizes, label_map, look
from uda_hydra.errors import UserError
from uda_hydra.files import read_json, remove_leftovers, write_atomically, write_json
from uda_hydra.inputs import shown
from uda_hydra.runs.layout import check_folder, mark_folder

PARTS = ("labels", "colours", "overlays")
"""Folders of the results."""
RECORD = "predictions.json"
"""Names the folder of the images, and the result of each."""
LONGEST = 240
"""Bytes of a file's name; file systems take 255, and a temporary one is a little longer."""


@torch.inference_mode()
def predict(config: DictConfig, overrides: list[str]) -> None:
    """Write ``labels/``, ``colours/`` and ``overlays/`` below ``output``, one PNG an image.

    The network is that of task=evaluate and is shown the images as ``evaluation`` says. Label maps
    are of the images' own size and hold the class numbers of the label space, which
    ``classes.json`` names. An image that cannot be read fails alone; a UserError lists all such.
    The same command again replaces its own results.
    """
    build.check_predictor(config)
    if not config.input:
        raise UserError("task=predict needs input=FOLDER: the images to predict")
    source = Path(config.input)
    folder = Path(config.output or f"outputs/predictions/{source.resolve().name}")
    check_folder(folder, "prediction", writes=[*PARTS, "classes.json", RECORD])
    names = name_outputs(find_images(source, folder), source)
    former = _former(folder, source)
    space = label_space(config.dataset.classes)
    label_image = _predictor(config, space)
    mark_folder(folder, "prediction")
    remove_leftovers(folder, below=True)
    _record(folder, source, names, former)
    write_json(folder / "classes.json", dict(enumerate(space.names)))
    failed, count = [], Count("predict")
    for done, (path, name) in enumerate(names.items(), 1):
        problem = _predict(path, folder, name, label_image, space)
        if problem is not None:
            failed.append(problem)
        count(done, len(names))
    print(f"{len(names) - len(failed)} of {len(names)} images predicted, in {shown(folder)}")
    if failed:
        raise UserError("\n".join([f"no prediction for {len(failed)} images:", *failed]))


def find_images(source: Path, folder: Path) -> list[Path]:
    """Images below ``source``, without hidden files and what lies in ``folder``.

    Prints how many files were left out and why, so that none is missed.
    """
    if not source.is_dir():
        raise UserError(f"input={shown(source)} is not a folder; give the one with the images")
    written = [(folder / part).resolve() for part in PARTS]
    images, hidden, others = [], [], []
    for path in files_below(source, leaving_out=written):
        if is_hidden(path, source):
            hidden.append(path.name)
        elif path.suffix.lower().removeprefix(".") in ENDINGS:
            images.append(path)
        else:
            others.append(path.name)
    for what, names in (("hidden files", hidden), ("files that are no images", others)):
        if names:
            print(f"{what} ignored: {len(names)}, such as {shown(names[0])}")
    if not images:
        endings = ", ".join(f".{ending}" for ending in ENDINGS)
        raise UserError(f"input={shown(source)} holds no image ({endings})")
    return images


def name_outputs(files: list[Path], source: Path) -> dict[Path, Path]:
    """Relative path of each image's PNGs.

    It is that of the image with the ending .png. Where two images would share one, as x.png and
    x.jpg would, .png is appended to the whole names of all images, and a number to those that still
    differ by case alone, which some file systems do not tell apart.
    """
    names = [path.relative_to(source) for path in files]
    short = [name.with_suffix(".png") for name in names]
    if len({*map(_folded, short)}) == len(short):
        return dict(zip(files, short, strict=True))
    taken: set[str] = set()
    outputs = {}
    for path, name in zip(files, names, strict=True):
        output, number = name.with_name(f"{name.name}.png"), 2
        while _folded(output) in taken:
            output, number = name.with_name(f"{name.name}~{number}.png"), number + 1
        taken.add(_folded(output))
        outputs[path] = output
    return outputs


def _folded(name: Path) -> str:
    """The same for names that some file system takes for one."""
    return unicodedata.normalize("NFC", str(name)).casefold()


def _former(folder: Path, source: Path) -> set[str]:
    """Names of the results of an earlier prediction of ``source`` in ``folder``.

    Raises UserError where they are results of other images.
    """
    record = read_json(folder / RECORD) or {}
    if record and record.get("input") != str(source.resolve()):
        raise UserError(
            f"output={shown(folder)} holds the predictions of {shown(record.get('input'))}; choose "
            "another folder"
        )
    files = record.get("files")
    return {str(name) for name in files.values()} if isinstance(files, dict) else set()


def _record(folder: Path, source: Path, names: dict[Path, Path], former: set[str]) -> None:
    """Write down whose results will be here; those of images that have gone since are removed."""
    files = {str(path.relative_to(source)): str(name) for path, name in names.items()}
    for name in former - {*files.values()}:
        for part in (folder / part for part in PARTS):
            if (part / name).resolve().is_relative_to(part.resolve()):
                (part / name).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RECORD, {"input": str(source.resolve()), "files": files})


def _predictor(
    config: DictConfig, label_space: LabelSpace
) -> Callable[[UInt8[np.ndarray, "h w 3"]], UInt8[np.ndarray, "h w"]]:
    """From an RGB image to its label map, by the config's weights and evaluation protocol."""
    device = find_device(config.trainer.device)
    configure(settings(config.trainer))
    bfloat16 = uses_bfloat16(config.trainer.precision, device)
    protocol = settings(config.evaluation)
    size = build.call(check_size, plain(config.dataset.target.size), "dataset.target")
    sizes = build.call(input_sizes, protocol, size)
    network = build.predictor(config).to(device).eval()

    def label_image(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w"]:
        resized = (resize_image(image, size, filter=protocol.filter) for size in sizes)
        inputs = [torch.from_numpy(one).permute(2, 0, 1) for one in resized]
        looks = look(network, inputs, protocol, device=device, bfloat16=bfloat16)
        check_classes(looks, label_space)
        return label_map(looks, image.shape[:2], protocol).cpu().numpy()

    return label_image


def _predict(
    path: Path,
    folder: Path,
    name: Path,
    label_image: Callable[[UInt8[np.ndarray, "h w 3"]], UInt8[np.ndarray, "h w"]],
    space: LabelSpace,
) -> str | None:
    """Predict one image; why it has no result, if it has none."""
    if len(os.fsencode(name.name)) > LONGEST:
        return f"{shown(path)}: the name is too long for that of a result; give it a shorter one"
    # A result of an earlier call must not pass for that of an image that can no longer be read.
    for part in PARTS:
        (folder / part / name).unlink(missing_ok=True)
    try:
        image = read_rgb(path)
        labels = label_image(image)
    except UnreadableFile as error:
        return str(error)
    except torch.OutOfMemoryError:
        return f"{shown(path)}: too little memory for {image.shape[1]}x{image.shape[0]} pixels"
    _write(folder, name, image, labels, space)
    return None


def _write(
    folder: Path,
    name: Path,
    image: UInt8[np.ndarray, "h w 3"],
    labels: UInt8[np.ndarray, "h w"],
    label_space: LabelSpace,
) -> None:
    colours = label_space.colourise(labels)
    overlay = cv2.addWeighted(image, 0.5, colours, 0.5, 0)
    pictures = (labels, colours[..., ::-1], overlay[..., ::-1])
    for part, picture in zip(PARTS, pictures, strict=True):
        path = folder / part / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = cv2.imencode(".png", picture)[1].tobytes()
        write_atomically(path, lambda temporary, data=data: temporary.write_bytes(data))
