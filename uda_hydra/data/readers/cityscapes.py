"""Cityscapes (Cordts et al., CVPR 2016): 2 975 train, 500 val, 1 525 test images of 2048x1024."""

from __future__ import annotations

from pathlib import Path

from uda_hydra.data.labels import CITYSCAPES_IDS
from uda_hydra.data.readers.city_split import GROUPS, PARTS, city_split
from uda_hydra.data.readers.decode import read_index_label
from uda_hydra.data.readers.image_set import ImageSet, Layout
from uda_hydra.data.readers.listing import pair, read_list

_IMAGE, _LABEL = "_leftImg8bit.png", "_gtFine_labelIds.png"

LAYOUT = Layout(
    name="Cityscapes",
    tree=f"""\
  leftImg8bit/{{train,val}}/<city>/<city>_<sequence>_<frame>{_IMAGE}
  gtFine/{{train,val}}/<city>/<city>_<sequence>_<frame>{_LABEL}""",
    download="leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip",
    class_ids=CITYSCAPES_IDS,
    known_ids=range(34),
    read_label=read_index_label,
)


def cityscapes(
    root: Path,
    *,
    num_classes: int,
    split: str,
    labels: bool = True,
    list_file: Path | None = None,
    keep_lost: bool = False,
) -> ImageSet:
    """One split of Cityscapes at ``root``; without ``labels`` no label folder is looked at.

    ``list_file`` names the images of the split to use, one a line: ``<city>/<name>.png`` or
    ``<split>_<city>_<sequence>_<frame>``. The splits ``train0``, ``val0``, ``train1`` and ``val1``
    are parts of ``train``: see ``city_split``, which also explains ``keep_lost``.
    """
    LAYOUT.choose(split, ("train", "val", "test", *PARTS))
    if split == "test" and labels:
        raise ValueError("the labels of the test split of Cityscapes are not public: choose val")
    folder = "train" if split in PARTS else split
    images = _by_city(LAYOUT.folder(root / "leftImg8bit" / folder), _IMAGE)
    samples = pair(
        f"Cityscapes {split} at {root}",
        images,
        _by_city(LAYOUT.folder(root / "gtFine" / folder), _LABEL) if labels else None,
        read_list(list_file, lambda line: _list_key(line, folder)) if list_file else None,
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
    return ImageSet(LAYOUT, root, samples, num_classes)


def _by_city(folder: Path, ending: str) -> dict[str, Path]:
    """Key ``<city>/<name without ending>`` to file; hidden files do not count."""
    return {
        f"{path.parent.name}/{path.name.removesuffix(ending)}": path
        for path in folder.glob(f"*/[!.]*{ending}")
    }


def _list_key(line: str, split: str) -> str:
    name = Path(line).name.removesuffix(_IMAGE).removeprefix(f"{split}_")
    return f"{name.split('_')[0]}/{name}"
