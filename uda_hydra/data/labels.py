"""The label spaces that ``dataset.classes`` may name: those of the benchmarks, or a file.

A *raw id* is what a label file holds, a *class number* is what a network learns: 0 to classes - 1,
and ``IGNORE`` for every pixel that takes part in nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from uda_hydra.data.class_file import ENDINGS, read_class_file
from uda_hydra.data.label_space import LabelSpace
from uda_hydra.data.readers import published_classes
from uda_hydra.errors import UserError, nearest

_CITYSCAPES = {
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "building": (70, 70, 70),
    "wall": (102, 102, 156),
    "fence": (190, 153, 153),
    "pole": (153, 153, 153),
    "traffic light": (250, 170, 30),
    "traffic sign": (220, 220, 0),
    "vegetation": (107, 142, 35),
    "terrain": (152, 251, 152),
    "sky": (70, 130, 180),
    "person": (220, 20, 60),
    "rider": (255, 0, 0),
    "car": (0, 0, 142),
    "truck": (0, 0, 70),
    "bus": (0, 60, 100),
    "train": (0, 80, 100),
    "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32),
}

# The palette of SegNet's authors.
_CAMVID = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (60, 40, 222),
    "tree": (128, 128, 0),
    "sign": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}

# By raw id. Colours of Cityscapes where it has the class, and of CARLA, which renders IDDA.
_IDDA = {
    "none": (0, 0, 0),
    "building": _CITYSCAPES["building"],
    "fence": _CITYSCAPES["fence"],
    "other": (55, 90, 80),
    "pedestrian": _CITYSCAPES["person"],
    "pole": _CITYSCAPES["pole"],
    "road line": (157, 234, 50),
    "road": _CITYSCAPES["road"],
    "sidewalk": _CITYSCAPES["sidewalk"],
    "vegetation": _CITYSCAPES["vegetation"],
    "vehicle": _CITYSCAPES["car"],
    "wall": _CITYSCAPES["wall"],
    "traffic sign": _CITYSCAPES["traffic sign"],
    "traffic light": _CITYSCAPES["traffic light"],
    "guardrail": (180, 165, 180),
    "dynamic": (170, 120, 50),
    "bicycle": _CITYSCAPES["bicycle"],
    "motorcycle": _CITYSCAPES["motorcycle"],
    "rider": _CITYSCAPES["rider"],
    "terrain": _CITYSCAPES["terrain"],
    "sky": _CITYSCAPES["sky"],
    "railway": (230, 150, 140),
    "ground": (81, 0, 81),
    "static": (110, 190, 160),
}


def _without(*left_out: str) -> tuple[str, ...]:
    return tuple(name for name in _CITYSCAPES if name not in left_out)


def _street_space(
    name: str, names: tuple[str, ...], subsets: Mapping[str, tuple[str, ...]] | None = None
) -> LabelSpace:
    return LabelSpace(name, names, tuple(_CITYSCAPES[one] for one in names), subsets or {})


_NOT_IN_SYNTHIA = ("terrain", "truck", "train")
# SYNTHIA's older protocol has 13 classes; papers give both means, the second one as mIoU*.
_THIRTEEN = _without(*_NOT_IN_SYNTHIA, "wall", "fence", "pole")

CITYSCAPES19 = _street_space("cityscapes19", _without())
"""The classes of the Cityscapes benchmark (Cordts et al., CVPR 2016), by train id."""

SYNTHIA16 = _street_space("synthia16", _without(*_NOT_IN_SYNTHIA), {"miou_13": _THIRTEEN})
"""Those that SYNTHIA shows."""

SYNTHIA13 = _street_space("synthia13", _THIRTEEN)
"""Those of SYNTHIA's older protocol."""

CAMVID11 = LabelSpace(
    "camvid11",
    tuple(_CAMVID),
    tuple(_CAMVID.values()),
    merged={
        "building": ("wall",),
        "road": ("road line",),
        "pavement": ("sidewalk",),
        "tree": ("vegetation", "terrain"),
        "sign": ("traffic light", "traffic sign"),
        "fence": ("guardrail",),
        "car": ("truck", "bus", "train", "vehicle"),
        "pedestrian": ("person",),
        "bicyclist": ("rider", "bicycle", "motorcycle"),
    },
)
"""The classes of CamVid (Brostow et al., 2009) as SegNet's authors number them."""

IDDA24 = LabelSpace("idda24", tuple(_IDDA), tuple(_IDDA.values()))
"""All values of IDDA's labels (Alberti et al., RA-L 2020), each a class."""

LABEL_SPACES = {
    space.name: space for space in (CITYSCAPES19, SYNTHIA16, SYNTHIA13, CAMVID11, IDDA24)
}


def label_space(value: str | None) -> LabelSpace:
    """The label space that ``dataset.classes`` names: one of ``LABEL_SPACES``, or a YAML file.

    Raises UserError for another name and for a file that is not fit.
    """
    if value in LABEL_SPACES:
        return LABEL_SPACES[value]
    if value is None:
        raise UserError("dataset.classes is not set; give a YAML file that lists your classes")
    if Path(str(value)).suffix.lower() in ENDINGS:
        found = read_class_file(Path(value))
        known = published_classes()
        for part in (part for parts in found.merged.values() for part in parts):
            if part not in known:
                raise UserError(
                    f"dataset.classes={value}: merges names no class of a published data set: "
                    f"{part!r}{nearest(part, known)}"
                )
        return found
    raise UserError(
        f"dataset.classes={value} is neither a YAML file nor a known label space"
        f"{nearest(str(value), LABEL_SPACES)}"
    )
