"""Validation images beside their truth, prediction and confidence, on one sheet."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageDraw, ImageFont

from uda_hydra.data.label_space import LabelSpace
from uda_hydra.engine.events import Panel
from uda_hydra.types import IGNORE

TILE = 400
"""Width of one picture on the sheet, in pixels."""
MARGIN, GAP, LINE, SWATCH = 20, 8, 24, 14
INK, FAINT, PAPER = (35, 38, 42), (115, 120, 126), (255, 255, 255)
COLUMNS = ("image", "truth", "prediction", "confidence")


def draw_panels(panels: Sequence[Panel], *, label_space: LabelSpace, title: str) -> Image.Image:
    """A row per image under ``title``, and the classes' colours at the foot."""
    rows = [draw_row(panel, label_space) for panel in panels]
    width = rows[0].shape[1] + 2 * MARGIN
    legend = legend_places(label_space.names, width - 2 * MARGIN)
    head = MARGIN + 2 * LINE + 12
    foot = legend[-1][1] + LINE + MARGIN
    height = head + sum(row.shape[0] + LINE + GAP for row in rows) + foot
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    write(draw, MARGIN, MARGIN, title, size=20)
    for column, name in enumerate(COLUMNS):
        write(draw, column_left(column), MARGIN + LINE + 10, name, size=15)
    draw_scale(sheet, column_left(4) - GAP, MARGIN + LINE + 10)

    top = head
    for panel, row in zip(panels, rows, strict=True):
        sheet.paste(Image.fromarray(row), (MARGIN, top))
        top += row.shape[0]
        for column, caption in enumerate(captions(panel)):
            write(draw, column_left(column), top + 3, caption, size=12, colour=FAINT)
        top += LINE + GAP
    for (x, y), name, colour in zip(legend, label_space.names, label_space.colours, strict=True):
        left, upper = MARGIN + x, top + 6 + y
        draw.rounded_rectangle((left, upper, left + SWATCH, upper + SWATCH), 3, colour)
        write(draw, left + SWATCH + 6, upper - 1, name, size=13)
    return sheet


def draw_row(panel: Panel, label_space: LabelSpace) -> UInt8[np.ndarray, "h w 3"]:
    """The four pictures side by side; what the truth ignores is black in it."""
    height, width = panel.truth.shape
    size = (TILE, round(TILE * height / width))
    shrink = cv2.INTER_AREA if width > TILE else cv2.INTER_CUBIC
    tiles = [
        cv2.resize(panel.image, size, interpolation=shrink),
        cv2.resize(label_space.colourise(panel.truth), size, interpolation=cv2.INTER_NEAREST),
        cv2.resize(label_space.colourise(panel.prediction), size, interpolation=cv2.INTER_NEAREST),
        cv2.resize(heat(panel.confidence), size, interpolation=shrink),
    ]
    gap = np.full((size[1], GAP, 3), PAPER, np.uint8)
    return np.hstack([tiles[0], gap, tiles[1], gap, tiles[2], gap, tiles[3]])


def heat(confidence: Float32[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Dark where the model doubts, bright where it is sure."""
    levels = np.rint(255 * confidence.clip(0, 1)).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)


def captions(panel: Panel) -> tuple[str, str, str, str]:
    """A line under each picture."""
    valid = panel.truth != IGNORE
    right = (panel.prediction == panel.truth)[valid]
    accuracy = f"{100 * right.mean():.1f} % of the pixels right" if valid.any() else ""
    return panel.key, "", accuracy, f"mean {panel.confidence.mean():.2f}"


def legend_places(classes: Sequence[str], width: int) -> list[tuple[int, int]]:
    """Left upper corner of each class's swatch in lines of at most ``width``."""
    places, x, y = [], 0, 0
    for name in classes:
        needed = round(font(13).getlength(name)) + SWATCH + 6
        if x > 0 and x + needed > width:
            x, y = 0, y + LINE
        places.append((x, y))
        x += needed + 18
    return places


def draw_scale(sheet: Image.Image, right: int, top: int) -> None:
    """The colours of confidence from 0 to 1, ending at ``right``."""
    ramp = heat(np.repeat(np.linspace(0, 1, 100, dtype=np.float32)[None], 10, axis=0))
    draw = ImageDraw.Draw(sheet)
    sheet.paste(Image.fromarray(ramp), (right - 114, top + 5))
    write(draw, right - 128, top + 2, "0", size=12, colour=FAINT)
    write(draw, right - 8, top + 2, "1", size=12, colour=FAINT)


def column_left(column: int) -> int:
    """Where a column of the sheet begins."""
    return MARGIN + column * (TILE + GAP)


def font(size: int) -> ImageFont.FreeTypeFont:
    """The type face that comes with Pillow: the same on every machine."""
    return ImageFont.load_default(size)


def write(
    draw: ImageDraw.ImageDraw,
    left: int,
    top: int,
    text: str,
    *,
    size: int,
    colour: tuple[int, int, int] = INK,
) -> None:
    """One line of text."""
    draw.text((left, top), text, fill=colour, font=font(size))
