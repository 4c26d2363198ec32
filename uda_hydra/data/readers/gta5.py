"""GTA5, "Playing for Data" (Richter et al., ECCV 2016): 24 966 game frames, mostly 1914x1052."""

from __future__ import annotations

from pathlib import Path

from uda_hydra.data.label_space import LabelSpace
from uda_hydra.data.readers.cityscapes import IDS
from uda_hydra.data.readers.gta5_split import official_split
from uda_hydra.data.readers.image_set import ImageSet, Layout
from uda_hydra.data.readers.listing import numbered_samples

LAYOUT = Layout(
    name="GTA5",
    tree="""\
  images/00001.png ... 24966.png
  labels/00001.png ... 24966.png""",
    download='"Playing for Data", 01_images.zip to 10_images.zip, 01_labels.zip to 10_labels.zip',
    ids=IDS,
    known_ids=range(35),
)

# A white and a black frame of half the size, with labels that belong to something else.
_BAD = {15188, 17705}


def gta5(
    root: Path,
    *,
    label_space: LabelSpace,
    split: str = "all",
    labelled: bool = True,
    list_file: Path | None = None,
) -> ImageSet:
    """GTA5 at ``root``, all of it or one official split, without its two bad images.

    Unless ``labelled`` no label folder is looked at. ``list_file`` names the images of the split
    to use, one a line, by file name or number.
    """
    LAYOUT.choose(split, ("all", "train", "val", "test"))
    # "all" takes any number, so that smaller and generated sets are served too.
    official = {n for n, name in enumerate(official_split(), start=1) if name == split}
    samples = numbered_samples(
        f"GTA5 {split} at {root}",
        LAYOUT.folder(root / "images"),
        LAYOUT.folder(root / "labels") if labelled else None,
        list_file,
        digits=5,
        belongs=lambda n: n not in _BAD and (split == "all" or n in official),
    )
    return ImageSet(LAYOUT, root, samples, label_space)
