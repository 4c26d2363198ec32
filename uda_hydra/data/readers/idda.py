"""IDDA (Alberti et al., RA-L 2020), the 840 rendered images of 1920x1080 that FedDrive uses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Integer, Shaped, UInt8

from uda_hydra.data.label_space import LabelSpace
from uda_hydra.data.readers import listing
from uda_hydra.data.readers.decode import UnreadableFile, read_index_label, read_rgb
from uda_hydra.data.readers.image_set import ImageSet, Layout
from uda_hydra.data.readers.listing import IMAGES, LABELS

TOWNS = ("T01", "T02", "T03")
WEATHERS = ("CN", "CS", "HRN")
"""Clear noon, clear sunset, hard rain at noon."""
CARS = ("A", "J")
"""Audi and jeep: the height of the camera."""

_LISTS = ("train", "test_same_dom", "test_diff_dom")
_WIDTH, _HEIGHT, _ROWS = 1920, 1080, 936
"""Sides of an original, and its rows above the bonnet of the own car."""


def read_image(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """RGB without the own car, see ``without_bonnet``."""
    return without_bonnet(path, read_rgb(path))


def read_label(path: Path) -> Integer[np.ndarray, "h w"]:
    """Raw ids without the own car, see ``without_bonnet``."""
    return without_bonnet(path, read_index_label(path))


def without_bonnet(path: Path, pixels: Shaped[np.ndarray, "h w *channels"]) -> np.ndarray:
    """The rows above the bonnet of the own car, which every image shows and labels as a vehicle.

    Pixels of the ratio 1920:1080 lose the rows that correspond to 936 to 1079, those of 1920:936
    have lost them already. ``UnreadableFile`` for any other ratio.
    """
    height, width = pixels.shape[:2]
    if height == round(width * _ROWS / _WIDTH):
        return pixels
    if height == round(width * _HEIGHT / _WIDTH):
        return pixels[: height * _ROWS // _HEIGHT]
    raise UnreadableFile(
        f"{path} has {width}x{height} pixels; images of IDDA have the ratio {_WIDTH}x{_HEIGHT}, or "
        f"{_WIDTH}x{_ROWS} where the bonnet of the own car has been cut off"
    )


LAYOUT = Layout(
    name="IDDA",
    tree="""\
  images/<number>_<town>_<weather>_<car>.jpg
  labels/<number>_<town>_<weather>_<car>.png
  train.txt, test_same_dom.txt, test_diff_dom.txt""",
    download="the folder data/idda of github.com/lambdavi/SatDrive-SegFL",
    ids={
        "none": (0,),
        "building": (1,),
        "fence": (2,),
        "other": (3,),
        "pedestrian": (4,),
        "pole": (5,),
        "road line": (6,),
        "road": (7,),
        "sidewalk": (8,),
        "vegetation": (9,),
        "vehicle": (10,),
        "wall": (11,),
        "traffic sign": (12,),
        "traffic light": (13,),
        "guardrail": (14,),
        "dynamic": (15,),
        "bicycle": (16,),
        "motorcycle": (17,),
        "rider": (18,),
        "terrain": (19,),
        "sky": (20,),
        "railway": (21,),
        "ground": (22,),
        "static": (23,),
    },
    known_ids=range(24),
    read_image=read_image,
    read_label=read_label,
)


def idda(
    root: Path,
    *,
    label_space: LabelSpace,
    split: str | list[str] = "all",
    labelled: bool = True,
    towns: list[str] | None = None,
    weathers: list[str] | None = None,
    cars: list[str] | None = None,
    list_file: Path | None = None,
) -> ImageSet:
    """All of IDDA at ``root`` or what its lists name; unless ``labelled`` no label is looked at.

    Training and test_same_dom show clear weather, noon and sunset alike; test_diff_dom shows rain.
    ``towns``, ``weathers`` and ``cars`` leave some of ``TOWNS``, ``WEATHERS`` and ``CARS``.
    ``list_file`` names the images of the splits to use, one a line, by name.
    """
    splits = LAYOUT.choose(split, ("all", *_LISTS))
    name = f"IDDA {'+'.join(splits)} at {root}"
    samples = listing.pair(
        name,
        _files(name, root / "images", IMAGES),
        _files(name, root / "labels", LABELS) if labelled else None,
        _listed(root, splits, list_file),
        looked_for=f"<number>_<town>_<weather>_<car>{listing.choices(IMAGES)}; labels .png",
    )
    chosen = {"towns": (towns, TOWNS), "weathers": (weathers, WEATHERS), "cars": (cars, CARS)}
    for place, (key, (wanted, known)) in enumerate(chosen.items(), start=1):
        samples = listing.with_part(name, samples, place, wanted, known=known, key=key)
    return ImageSet(LAYOUT, root, samples, label_space)


def _listed(root: Path, splits: list[str], list_file: Path | None) -> dict[str, str] | None:
    """Name to line of the images to use; None for all there are."""
    chosen = None if list_file is None else listing.read_list(list_file, _list_key)
    if "all" in splits:
        return chosen
    names: dict[str, str] = {}
    for file in (root / f"{split}.txt" for split in splits):
        if not file.is_file():
            raise FileNotFoundError(
                f"IDDA: no list {file}; it comes with the images, and split=all needs none"
            )
        names |= listing.read_list(file, _list_key)
    return names if chosen is None else {key: names[key] for key in names.keys() & chosen.keys()}


def _files(name: str, folder: Path, endings: tuple[str, ...]) -> dict[str, Path]:
    """Name without ending to file; hidden files do not count."""
    stem = r"(\d+_[^_.]+_[^_.]+_[^_.]+)"
    return listing.files_named(name, [LAYOUT.folder(folder)], stem, endings)


def _list_key(line: str) -> str:
    return Path(line).stem
