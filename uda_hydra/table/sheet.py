"""One sheet of pictures: the same target images as every row of a run predicts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from uda_hydra import build
from uda_hydra.callbacks.panels import GAP, LINE, MARGIN, PAPER, Legend, classes_shown, write
from uda_hydra.config import settings
from uda_hydra.data.label_space import LabelSpace
from uda_hydra.data.pair import Pair, ValidationSample
from uda_hydra.engine.device import find_device, uses_bfloat16
from uda_hydra.engine.evaluator import evaluate
from uda_hydra.engine.events import Panel
from uda_hydra.files import write_atomically
from uda_hydra.models.checkpoints.loading import load_weights
from uda_hydra.runs.stages import Stage

IMAGES = 4
TILE = 280
"""Width of one picture, in pixels."""


def write_sheet(path: Path, stages: Sequence[Stage]) -> None:
    """Draw the predictions of finished ``stages`` of one run; does nothing without any."""
    if not stages:
        return
    pair = build.pair(stages[0].config)
    samples = spaced(pair)
    panels = {stage.name: _panels(stage, pair, samples) for stage in stages}
    sheet = draw_sheet(panels, pair.label_space)
    write_atomically(path, lambda temporary: sheet.save(temporary, format="png"))


def spaced(pair: Pair) -> list[ValidationSample]:
    """``IMAGES`` validation images, evenly spaced in their order."""
    count = len(pair.validation)
    places = sorted({(2 * i + 1) * count // (2 * IMAGES) for i in range(IMAGES)})
    return [pair.validation[place] for place in places]


def _panels(stage: Stage, pair: Pair, samples: Sequence[ValidationSample]) -> tuple[Panel, ...]:
    """The samples as the last weights of a stage predict them."""
    config = stage.config
    network = build.build(config.model, "model", num_classes=len(pair.label_space))
    build.call(load_weights, network, stage.folder / "last.pt")
    device = find_device(config.trainer.device)
    _, panels = evaluate(
        network.to(device),
        samples,
        protocol=settings(config.evaluation),
        label_space=pair.label_space,
        count=len(samples),
        device=device,
        bfloat16=uses_bfloat16(config.trainer.precision, device),
        panels=len(samples),
    )
    return panels


def draw_sheet(rows: Mapping[str, Sequence[Panel]], label_space: LabelSpace) -> Image.Image:
    """A strip for the images, one for their labels and one for every row, each under its name."""
    first = next(iter(rows.values()))
    strips = {"image": [panel.image for panel in first]}
    maps = {"label": [panel.truth for panel in first]}
    maps |= {name: [panel.prediction for panel in panels] for name, panels in rows.items()}
    strips |= {name: [*map(label_space.colourise, own)] for name, own in maps.items()}
    shown = classes_shown([panel for own in rows.values() for panel in own], len(label_space))
    pictures = {name: _strip(own, smooth=name == "image") for name, own in strips.items()}
    width = max(one.shape[1] for one in pictures.values())
    legend = Legend(shown, label_space, width)
    height = sum(one.shape[0] + LINE + GAP for one in pictures.values()) + legend.height
    sheet = Image.new("RGB", (width + 2 * MARGIN, height + 2 * MARGIN), PAPER)
    draw, top = ImageDraw.Draw(sheet), MARGIN
    for name, picture in pictures.items():
        write(draw, MARGIN, top, name, size=15)
        sheet.paste(Image.fromarray(picture), (MARGIN, top + LINE))
        top += LINE + picture.shape[0] + GAP
    legend.draw(draw, MARGIN, top)
    return sheet


def _strip(
    pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]], *, smooth: bool
) -> UInt8[np.ndarray, "_ _ 3"]:
    """Pictures side by side, all as high as the first."""
    height, width = pictures[0].shape[:2]
    size = (TILE, round(TILE * height / width))
    how = cv2.INTER_AREA if smooth else cv2.INTER_NEAREST
    gap = np.full((size[1], GAP, 3), PAPER, np.uint8)
    tiles = [part for one in pictures for part in (cv2.resize(one, size, interpolation=how), gap)]
    return np.hstack(tiles[:-1])
