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
RIGHT, WRONG, NO_LABEL = (222, 226, 230), (214, 54, 54), (150, 156, 163)
"""Of a pseudo label's pixel: the colours of ``errors``."""
COLUMNS = ("image", "truth", "prediction", "confidence")


def draw_panels(panels: Sequence[Panel], *, label_space: LabelSpace, title: str) -> Image.Image:
    """The lines of each image under ``title``, and the colours of its classes at the foot."""
    lines = [line for panel in panels for line in draw_lines(panel, label_space)]
    width = 4 * TILE + 3 * GAP + 2 * MARGIN
    shown = classes_shown(panels, len(label_space))
    legend = Legend(shown, label_space, width - 2 * MARGIN)
    head = MARGIN + 2 * LINE + 12
    foot = legend.height + MARGIN
    height = head + sum(picture.shape[0] + LINE + GAP for picture, _ in lines) + foot
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    write(draw, MARGIN, MARGIN, title, size=20)
    for column, name in enumerate(COLUMNS):
        write(draw, column_left(column), MARGIN + LINE + 10, name, size=15)
    draw_scale(sheet, column_left(4) - GAP, MARGIN + LINE + 10)

    top = head
    for picture, texts in lines:
        sheet.paste(Image.fromarray(picture), (MARGIN, top))
        top += picture.shape[0]
        for column, caption in enumerate(texts):
            write(draw, column_left(column), top + 3, caption, size=12, colour=FAINT)
        top += LINE + GAP
    legend.draw(draw, MARGIN, top + 6)
    return sheet


def classes_shown(panels: Sequence[Panel], num_classes: int) -> list[int]:
    """Numbers of the classes that occur in any of the maps, in increasing order."""
    maps = [m for one in panels for m in (one.truth, one.prediction, *one.labels.values())]
    numbers = np.unique(np.concatenate([np.unique(map) for map in maps]))
    return numbers[numbers < num_classes].tolist()


def draw_lines(
    panel: Panel, label_space: LabelSpace
) -> list[tuple[UInt8[np.ndarray, "h w 3"], tuple[str, ...]]]:
    """Pictures side by side and their captions: the image's row, then two label maps a line."""
    lines = [(draw_row(panel, label_space), captions(panel))]
    named = [*panel.labels.items()]
    for pair in (named[start : start + 2] for start in range(0, len(named), 2)):
        pictures = [
            picture
            for _, label in pair
            for picture in (label_space.colourise(label), errors(label, panel.truth))
        ]
        texts = [text for name, label in pair for text in (name, error_rate(label, panel.truth))]
        lines.append((side_by_side(pictures), (*texts,)))
    return lines


def errors(
    label: UInt8[np.ndarray, "h w"], truth: UInt8[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Where a label is right, where it is wrong, and where there is none; black without a truth."""
    colours = np.array([RIGHT, WRONG, NO_LABEL, (0, 0, 0)], np.uint8)
    kinds = np.select([truth == IGNORE, label == IGNORE, label != truth], [3, 2, 1], 0)
    return colours[kinds]


def error_rate(label: UInt8[np.ndarray, "h w"], truth: UInt8[np.ndarray, "h w"]) -> str:
    """In words: of the pixels that have a truth."""
    valid = truth != IGNORE
    labelled = valid & (label != IGNORE)
    if not labelled.any():
        return ""
    wrong = (label != truth)[labelled].mean()
    return f"{100 * wrong:.1f} % wrong of {100 * labelled.sum() / valid.sum():.1f} % labelled"


def draw_row(panel: Panel, label_space: LabelSpace) -> UInt8[np.ndarray, "h w 3"]:
    """The four pictures side by side; what the truth ignores is black in it."""
    truth, prediction = map(label_space.colourise, (panel.truth, panel.prediction))
    size = _tile(panel.image)
    shrink = cv2.INTER_AREA if panel.image.shape[1] > TILE else cv2.INTER_CUBIC
    image, confidence = (
        cv2.resize(picture, size, interpolation=shrink)
        for picture in (panel.image, heat(panel.confidence))
    )
    return side_by_side([image, truth, prediction, confidence])


def side_by_side(pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> UInt8[np.ndarray, "h w 3"]:
    """As wide as ``TILE`` each, with gaps, by nearest pixels."""
    tiles = [cv2.resize(one, _tile(one), interpolation=cv2.INTER_NEAREST) for one in pictures]
    gap = np.full((tiles[0].shape[0], GAP, 3), PAPER, np.uint8)
    return np.hstack([part for tile in tiles for part in (tile, gap)][:-1])


def _tile(picture: UInt8[np.ndarray, "h w 3"]) -> tuple[int, int]:
    """Width and height of a picture on the sheet."""
    return TILE, max(1, round(TILE * picture.shape[0] / picture.shape[1]))


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


class Legend:
    """Classes by number, each name beside its colour, in lines of ``width`` pixels."""

    def __init__(self, shown: Sequence[int], label_space: LabelSpace, width: int) -> None:
        self.names = [_shorten(label_space.names[number]) for number in shown]
        self.colours = [label_space.colours[number] for number in shown]
        self.places = legend_places(self.names, width)
        self.height = max((y for _, y in self.places), default=0) + LINE

    def draw(self, draw: ImageDraw.ImageDraw, left: int, top: int) -> None:
        """Draw it with its left upper corner at a place."""
        for (x, y), name, colour in zip(self.places, self.names, self.colours, strict=True):
            box = (left + x, top + y, left + x + SWATCH, top + y + SWATCH)
            draw.rounded_rectangle(box, 3, colour)
            write(draw, left + x + SWATCH + 6, top + y - 1, name, size=13)


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
