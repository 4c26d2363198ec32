"""Cityscapes (Cordts et al., CVPR 2016): 2 975 train, 500 val, 1 525 test images of 2048x1024."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from uda_hydra.data.label_space import LabelSpace
from uda_hydra.data.readers import listing
from uda_hydra.data.readers.city_split import GROUPS, PARTS, city_split
from uda_hydra.data.readers.image_set import ImageSet, Layout
from uda_hydra.data.readers.listing import IMAGES, LABELS

_IMAGE, _LABEL = "_leftImg8bit", "_gtFine_labelIds"

IDS = {
    "road": (7,),
    "sidewalk": (8,),
    "building": (11,),
    "wall": (12,),
    "fence": (13,),
    "guardrail": (14,),
    "pole": (17,),
    "traffic light": (19,),
    "traffic sign": (20,),
    "vegetation": (21,),
    "terrain": (22,),
    "sky": (23,),
    "person": (24,),
    "rider": (25,),
    "car": (26,),
    "truck": (27,),
    "bus": (28,),
    "train": (31,),
    "motorcycle": (32,),
    "bicycle": (33,),
}
"""Raw id of each class."""

LAYOUT = Layout(
    name="Cityscapes",
    tree=f"""\
  leftImg8bit/{{train,val}}/<city>/<city>_<sequence>_<frame>{_IMAGE}.png
  gtFine/{{train,val}}/<city>/<city>_<sequence>_<frame>{_LABEL}.png""",
    download="leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip",
    ids=IDS,
    known_ids=range(34),
)


def cityscapes(
    root: Path,
    *,
    label_space: LabelSpace,
    split: str,
    labelled: bool = True,
    list_file: Path | None = None,
    keep_lost: bool = False,
) -> ImageSet:
    """One split of Cityscapes at ``root``; unless ``labelled`` no label folder is looked at.

    ``list_file`` names the images of the split to use, one a line: ``<city>/<name>.png`` or
    ``<split>_<city>_<sequence>_<frame>``. The splits ``train0``, ``val0``, ``train1`` and ``val1``
    are parts of ``train``: see ``city_split``, which also explains ``keep_lost``.
    """
    LAYOUT.choose(split, ("train", "val", "test", *PARTS))
    if split == "test" and labelled:
        raise ValueError("the labels of the test split of Cityscapes are not public: choose val")
    folder = "train" if split in PARTS else split
    name = f"Cityscapes {split} at {root}"
    images = _by_city(name, LAYOUT.folder(root / "leftImg8bit" / folder), _IMAGE, IMAGES)
    labels = None
    if labelled:
        labels = _by_city(name, LAYOUT.folder(root / "gtFine" / folder), _LABEL, LABELS)
    samples = listing.pair(
        name,
        images,
        labels,
        listing.read_list(list_file, lambda line: _list_key(line, folder)) if list_file else None,
        looked_for=f"<city>/*{_IMAGE}{listing.choices(IMAGES)}; labels <city>/*{_LABEL}.png",
        folders=(root / "leftImg8bit" / folder, root / "gtFine" / folder),
    )
    if split in PARTS:
        # By all images there are, whatever the list file leaves of them.
        chosen = set(city_split(images, keep_lost=keep_lost)[split])
        samples = [sample for sample in samples if sample.key in chosen]
    if not samples:
        raise FileNotFoundError(
            f"Cityscapes {split} at {root} has no image: it takes those of "
            f"{', '.join(GROUPS[int(split[-1])])} in leftImg8bit/train, ten a city for validation "
            "and the others for training"
        )
    return ImageSet(LAYOUT, root, samples, label_space)


def _by_city(name: str, folder: Path, suffix: str, endings: tuple[str, ...]) -> dict[str, Path]:
    """Key ``<city>/<name without suffix>`` to file; hidden files do not count."""
    pattern = re.compile(f"([^.].*){suffix}{listing.ending(endings)}")

    def keyed() -> Iterator[tuple[str, Path]]:
        for path in folder.glob(f"*/*{suffix}.*"):
            match = pattern.fullmatch(path.name)
            if match:
                yield f"{path.parent.name}/{match[1]}", path

    return listing.listed_once(name, keyed())


def _list_key(line: str, split: str) -> str:
    name = re.sub(f"({_IMAGE})?{listing.ending(IMAGES)}$|{_IMAGE}$", "", Path(line).name)
    name = name.removeprefix(f"{split}_")
    return f"{name.split('_')[0]}/{name}"
