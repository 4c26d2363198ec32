"""Predict: label maps, colour maps and overlays for any folder of images."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from omegaconf import DictConfig

from uda_hydra import build
from uda_hydra.augment.resize import resize_image
from uda_hydra.data.labels import label_space
from uda_hydra.data.readers import read_rgb
from uda_hydra.engine.device import find_device
from uda_hydra.engine.labels import predict_labels
from uda_hydra.errors import UserError

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


@torch.inference_mode()
def predict(config: DictConfig, overrides: list[str]) -> None:
    """Write ``labels/``, ``colours/`` and ``overlays/`` below ``output``, one PNG an image.

    Label maps hold class numbers of ``dataset.classes``.
    """
    files = _images(config)
    device = find_device(config.trainer.device)
    build.check_init(config)
    network = build.segmenter(config).to(device).eval()
    folder = Path(config.output or f"outputs/predictions/{Path(config.input).resolve().name}")
    space = label_space(config.dataset.classes)
    for done, path in enumerate(files, 1):
        image = read_rgb(path)
        small = torch.from_numpy(resize_image(image, tuple(config.dataset.target.size)))
        batch = small.permute(2, 0, 1)[None].to(device)
        logits = network(network.normalization(batch)).main
        labels = predict_labels(logits, image.shape[:2]).cpu().numpy()
        colours = space.colourise(labels)
        name = path.relative_to(config.input).with_suffix(".png")
        _write(folder / "labels" / name, labels)
        _write(folder / "colours" / name, colours[:, :, ::-1])
        overlay = cv2.addWeighted(image, 0.5, colours, 0.5, 0)
        _write(folder / "overlays" / name, overlay[:, :, ::-1])
        print(f"\r{done}/{len(files)}", end="", flush=True)
    print(f" images predicted: {folder}/labels, colours, overlays")


def _images(config: DictConfig) -> list[Path]:
    if config.init is None:
        raise UserError("task=predict needs init=FILE: the weights to predict with")
    if config.input is None:
        raise UserError("task=predict needs input=FOLDER: the images to predict")
    folder = Path(config.input)
    if not folder.is_dir():
        raise UserError(f"input={config.input}: there is no such folder")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
    if not files:
        raise UserError(f"input={config.input} holds no image ({', '.join(ENDINGS)})")
    return files


def _write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image):
        raise UserError(f"cannot write {path}; is the disk full or the folder not writable?")
