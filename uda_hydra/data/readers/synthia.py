"""SYNTHIA-RAND-CITYSCAPES (Ros et al., CVPR 2016): 9 400 rendered images of 1280x760."""

from __future__ import annotations

from pathlib import Path

from uda_hydra.data.label_space import LabelSpace
from uda_hydra.data.readers.decode import read_synthia_label
from uda_hydra.data.readers.image_set import ImageSet, Layout
from uda_hydra.data.readers.listing import numbered_samples

# Lane marking (22) is not road here: all releases ignore it.
IDS = {
    "sky": (1,),
    "building": (2,),
    "road": (3,),
    "sidewalk": (4,),
    "fence": (5,),
    "vegetation": (6,),
    "pole": (7,),
    "car": (8,),
    "traffic sign": (9,),
    "person": (10,),
    "bicycle": (11,),
    "motorcycle": (12,),
    "traffic light": (15,),
    "terrain": (16,),
    "rider": (17,),
    "truck": (18,),
    "bus": (19,),
    "train": (20,),
    "wall": (21,),
}
"""Raw id of each class."""

LAYOUT = Layout(
    name="SYNTHIA",
    tree="""\
  RGB/0000000.png ... 0009399.png
  GT/LABELS/0000000.png ... 0009399.png""",
    download="SYNTHIA-RAND-CITYSCAPES (CVPR16), the folder RAND_CITYSCAPES of its archive",
    ids=IDS,
    absent=("terrain", "truck", "train"),
    known_ids=range(23),
    read_label=read_synthia_label,
)

# There is no official split; the releases that need one keep the last 400 for validation.
_FIRST_VAL = 9000


def synthia(
    root: Path,
    *,
    label_space: LabelSpace,
    split: str = "all",
    labelled: bool = True,
    list_file: Path | None = None,
) -> ImageSet:
    """SYNTHIA at ``root``; unless ``labelled`` no label folder is looked at.

    ``list_file`` names the images of the split to use, one a line, by file name or number.
    """
    LAYOUT.choose(split, ("all", "train", "val"))
    samples = numbered_samples(
        f"SYNTHIA {split} at {root}",
        LAYOUT.folder(root / "RGB"),
        LAYOUT.folder(root / "GT" / "LABELS") if labelled else None,
        list_file,
        digits=7,
        belongs=lambda n: split == "all" or (n >= _FIRST_VAL) == (split == "val"),
    )
    return ImageSet(LAYOUT, root, samples, label_space)
