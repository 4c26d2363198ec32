"""Validation images next to their truth, prediction and confidence, on one sheet."""

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
WIDEST_NAME = 200
"""Pixels of the legend that a class's name may take."""
INK, FAINT, PAPER = (35, 38, 42), (115, 120, 126), (255, 255, 255)
COLUMNS = ("image", "truth", "prediction", "confidence")


def draw_panels(panels: Sequence[Panel], *, label_space: LabelSpace, title: str) -> Image.Image:
    """A row per image under ``title``, and the colours of the classes shown at the foot."""
    rows = [draw_row(panel, label_space) for panel in panels]
    width = rows[0].shape[1] + 2 * MARGIN
    shown = classes_shown(panels, len(label_space))
    names = [_shorten(label_space.names[number]) for number in shown]
    places = legend_places(names, width - 2 * MARGIN)
    head = MARGIN + 2 * LINE + 12
    foot = max((y for _, y in places), default=0) + LINE + MARGIN
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
    for (x, y), name, number in zip(places, names, shown, strict=True):
        left, upper = MARGIN + x, top + 6 + y
        box = (left, upper, left + SWATCH, upper + SWATCH)
        draw.rounded_rectangle(box, 3, label_space.colours[number])
        write(draw, left + SWATCH + 6, upper - 1, name, size=13)
    return sheet


def classes_shown(panels: Sequence[Panel], num_classes: int) -> list[int]:
    """Numbers of the classes that occur in a truth or a prediction, in increasing order."""
    maps = [map for panel in panels for map in (panel.truth, panel.prediction)]
    numbers = np.unique(np.concatenate([np.unique(map) for map in maps]))
    return numbers[numbers < num_classes].tolist()


def draw_row(panel: Panel, label_space: LabelSpace) -> UInt8[np.ndarray, "h w 3"]:
    """The four pictures side by side; what the truth ignores is black in it."""
    height, width = panel.truth.shape
    size = (TILE, round(TILE * height / width))
    shrink = cv2.INTER_AREA if width > TILE else cv2.INTER_CUBIC
    truth, prediction = map(label_space.colourise, (panel.truth, panel.prediction))
    tiles = [
        cv2.resize(panel.image, size, interpolation=shrink),
        cv2.resize(truth, size, interpolation=cv2.INTER_NEAREST),
        cv2.resize(prediction, size, interpolation=cv2.INTER_NEAREST),
        cv2.resize(heat(panel.confidence), size, interpolation=shrink),
    ]
    gap = np.full((size[1], GAP, 3), PAPER, np.uint8)
    return np.hstack([tiles[0], gap, tiles[1], gap, tiles[2], gap, tiles[3]])


def heat(confidence: Float32[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Dark where the confidence is low, bright where it is high."""
    levels = np.rint(255 * confidence.clip(0, 1)).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)


def captions(panel: Panel) -> tuple[str, str, str, str]:
    """A line under each picture."""
    valid = panel.truth != IGNORE
    correct = (panel.prediction == panel.truth)[valid]
    accuracy = f"{100 * correct.mean():.1f} % of the pixels correct" if valid.any() else ""
    return panel.key, "", accuracy, f"mean {panel.confidence.mean():.2f}"


def legend_places(names: Sequence[str], width: int) -> list[tuple[int, int]]:
    """Left upper corner of each class's swatch: columns of equal width in lines of ``width``."""
    longest = max((font(13).getlength(name) for name in names), default=0)
    step = round(longest) + SWATCH + 6 + 18
    columns = max(1, (width + 18) // step)
    return [(place % columns * step, place // columns * LINE) for place in range(len(names))]


def _shorten(name: str) -> str:
    """The name, or its beginning where the whole would take more than ``WIDEST_NAME``."""
    if font(13).getlength(name) <= WIDEST_NAME:
        return name
    while font(13).getlength(f"{name} ...") > WIDEST_NAME:
        name = name[:-1]
    return f"{name} ..."


def draw_scale(sheet: Image.Image, right: int, top: int) -> None:
    """The colours of confidence from 0 to 1, ending at ``right``."""
    ramp = heat(np.repeat(np.linspace(0, 1, 100, dtype=np.float32)[None], 10, axis=0))
    draw = ImageDraw.Draw(sheet)
    sheet.paste(Image.fromarray(ramp), (right - 114, top + 5))
    write(draw, right - 128, top + 2, "0", size=12, colour=FAINT)
    write(draw, right - 8, top + 2, "1", size=12, colour=FAINT)


def column_left(column: int) -> int:
    """Left edge of a column of the sheet, in pixels."""
    return MARGIN + column * (TILE + GAP)


def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own typeface, which is the same on every machine."""
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
