"""Reading the files a segmenter starts from: ImageNet weights, official snapshots, our own runs.

What is known about a file is in two tables: ``CONTAINERS`` says where the tensors lie,
``LAYOUTS`` how their names become ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from uda_hydra.models.segmenter import Segmenter

Weights = dict[str, Tensor]


class Container(NamedTuple):
    """A way to wrap a state dict: the keys that lead to it, and the part of it that is wanted."""

    path: tuple[str, ...]
    prefix: str = ""


CONTAINERS = (
    Container(("method",), prefix="segmenter."),  # our last.pt and best.pt
    Container(("ResNet101", "model_state")),
    Container(("state_dict",)),
    Container(("model",)),
)


class Layout(NamedTuple):
    """The names of one family of files."""

    name: str
    needs: tuple[str, ...]
    """Beginnings that names must have; the first layout of the table that fits is taken."""
    rules: tuple[tuple[str, str | None], ...]
    """Pattern of a beginning and its replacement, first match wins; None drops the entry."""
    heads: bool = True
    """Whether the file brings heads; without, those of the segmenter stay as they are."""
    classes: int | None = None
    """Number of classes that tells this layout from the next one with the same names."""


_TRUNK = (r"(conv1|bn1|layer[1-4])\.", r"backbone.\1.")
_FIFTH, _SIXTH = "layer5.conv2d_list.", "layer6.conv2d_list."
_MAIN_ON_SIXTH = (re.escape(_SIXTH), "main_head.branches.")

LAYOUTS = (
    Layout("uda_hydra", ("backbone.", "main_head."), ((r"(?=backbone|aux_head|main_head)", ""),)),
    Layout(
        "ADVENT, CaCo or AdaptSegNet with two heads",
        ("conv1.", _FIFTH, _SIXTH),
        (_TRUNK, (re.escape(_FIFTH), "aux_head.branches."), _MAIN_ON_SIXTH),
    ),
    Layout("ADVENT with one head", ("conv1.", _SIXTH), (_TRUNK, _MAIN_ON_SIXTH)),
    # A classifier of PASCAL VOC's 21 classes marks the Caffe-style ImageNet initialisation.
    Layout(
        "DeepLab initialisation",
        ("conv1.", _FIFTH),
        (_TRUNK, (r"(layer5|fc)\.", None)),
        heads=False,
        classes=21,
    ),
    Layout(
        "AdaptSegNet with one head",
        ("conv1.", _FIFTH),
        (_TRUNK, (re.escape(_FIFTH), "main_head.branches.")),
    ),
    Layout(
        "torchvision ResNet",
        ("conv1.", "bn1.", "layer4."),
        (_TRUNK, (r"fc\.", None)),
        heads=False,
    ),
)


class LoadReport(NamedTuple):
    """What became of a file's tensors; print it."""

    file: str
    layout: str
    loaded: tuple[str, ...]
    """Names in the segmenter."""
    dropped: tuple[str, ...]
    """Names in the file that the segmenter has no use for."""
    missing: tuple[str, ...]
    """Names in the segmenter that keep their values."""

    def __str__(self) -> str:
        return "\n".join(
            [
                f"{self.file}: {self.layout}, {len(self.loaded)} tensors loaded",
                *_listed("dropped from the file", self.dropped),
                *_listed("not in the file, kept as initialised", self.missing),
            ]
        )


def load_weights(segmenter: Segmenter, file: str | Path, *, drop_heads: bool = False) -> LoadReport:
    """Fill ``segmenter`` from ``file``, all or nothing.

    ``drop_heads`` takes the backbone only. Old files lack ``num_batches_tracked``: it becomes 0.
    Raises ValueError, naming file and remedy, for what cannot be read, recognised or fitted.
    """
    found = _unwrapped(read_file(file), file)
    layout = recognise(found, file)
    state = segmenter.state_dict()
    wanted = {name for name in state if name.startswith("backbone.") or not drop_heads}
    ours = rename(found, layout)
    fitting = {ours[name]: tensor for name, tensor in found.items() if ours[name] in wanted}
    dropped = [name for name in found if ours[name] not in wanted]
    missing = [name for name in state if name not in fitting]
    counters = [name for name in missing if name.endswith("num_batches_tracked")]
    kept = [name for name in missing if name not in counters]
    heads_may_stay = drop_heads or not layout.heads
    _check(segmenter, fitting, kept, heads_may_stay, f"init={file} ({layout.name})")
    zeros = {name: torch.zeros_like(state[name]) for name in counters}
    segmenter.load_state_dict(state | fitting | zeros)
    return LoadReport(str(file), layout.name, tuple(fitting), tuple(dropped), tuple(kept))


def read_file(file: str | Path) -> object:
    """The content of a file written by ``torch.save``, without running any code it may hold."""
    path = Path(file)
    if not path.is_file():
        raise ValueError(f"init={file}: no such file")
    # ProDA and MaxSquare keep a numpy number beside the weights; numpy 2 moved what makes it.
    scalar = np.float64(0).__reduce__()[0]
    dtypes = [type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int64)]
    allowed = [scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype, *dtypes]
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # What torch raises depends on where the damage is: a dozen types, assertions among them.
        raise ValueError(
            f"init={file}: cannot be read as weights ({type(error).__name__}); it is truncated, "
            "no torch file, or holds more than tensors and numbers. Fetch or write it again."
        ) from error


def recognise(found: Weights, file: str | Path) -> Layout:
    """The layout that ``found`` follows."""
    for layout in LAYOUTS:
        if not _lacking(found, layout) and _has_classes(found, layout):
            return layout
    nearest = min(LAYOUTS, key=lambda layout: len(_lacking(found, layout)) / len(layout.needs))
    unknown = [name for name, ours in rename(found, nearest).items() if ours is None]
    raise ValueError(
        f"init={file}: unknown layout, with names like {_few([*found])}. The nearest is "
        f"{nearest.name!r}, but no name begins with {_few(_lacking(found, nearest))} and "
        f"{len(unknown)} of {len(found)} are unknown there. "
        f"Known are: {'; '.join(layout.name for layout in LAYOUTS)}."
    )


def rename(names: Iterable[str], layout: Layout) -> dict[str, str | None]:
    """Our name for each of a file's names; None for those that are dropped or unknown."""
    ours: dict[str, str | None] = {}
    for name in names:
        rule = next((rule for rule in layout.rules if re.match(rule[0], name)), None)
        known = rule is not None and rule[1] is not None
        ours[name] = re.sub(rule[0], rule[1], name, count=1) if known else None
    return ours


def _unwrapped(content: object, file: str | Path) -> Weights:
    for container in CONTAINERS:
        inner = content
        for key in container.path:
            inner = inner.get(key) if isinstance(inner, Mapping) else None
        if isinstance(inner, Mapping):
            content = {
                name.removeprefix(container.prefix): tensor
                for name, tensor in inner.items()
                if name.startswith(container.prefix)
            }
            break
    tensors = content if isinstance(content, Mapping) else {}
    found = {name: value for name, value in tensors.items() if isinstance(value, Tensor)}
    if not found:
        keys = _few([str(key) for key in tensors]) if tensors else type(content).__name__
        raise ValueError(f"init={file}: holds no tensors where weights are looked for ({keys})")
    return _without_common_prefix(found)


def _without_common_prefix(found: Weights) -> Weights:
    """Drop the first part of all names ("module.", "Scale.") while they share it."""
    first = {name.partition(".")[0] for name in found}
    if len(first) > 1 or not all("." in name for name in found):
        return found
    return _without_common_prefix({n.partition(".")[2]: tensor for n, tensor in found.items()})


def _check(
    segmenter: Segmenter, fitting: Weights, kept: list[str], heads_may_stay: bool, where: str
) -> None:
    """Raise unless every tensor fits and nothing is missing that the file should have brought."""
    state = segmenter.state_dict()
    for name, tensor in fitting.items():
        if tensor.shape == state[name].shape:
            continue
        if "_head." in name and tensor.shape[1:] == state[name].shape[1:]:
            raise ValueError(
                f"{where}: its heads have {len(tensor)} classes and the model has "
                f"{segmenter.num_classes}; choose the data set with as many classes, or drop "
                "the heads of the file"
            )
        raise ValueError(
            f"{where}: {name} has shape {tuple(tensor.shape)} and the model wants "
            f"{tuple(state[name].shape)}; choose the model this file was made for"
        )
    lacking = [n for n in kept if n.startswith("backbone.") or not heads_may_stay]
    if lacking:
        only_aux = all(name.startswith("aux_head.") for name in lacking)
        remedy = "set model.multi_level=false" if only_aux else "choose the model it was made for"
        raise ValueError(f"{where}: lacks {len(lacking)} tensors, {_few(lacking)}; {remedy}")


def _lacking(found: Weights, layout: Layout) -> list[str]:
    return [need for need in layout.needs if not any(name.startswith(need) for name in found)]


def _has_classes(found: Weights, layout: Layout) -> bool:
    heads = [tensor for name, tensor in found.items() if name.startswith(layout.needs[-1])]
    return layout.classes is None or all(len(tensor) == layout.classes for tensor in heads)


def _few(names: list[str], most: int = 3) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest if names else "nothing"


def _listed(title: str, names: tuple[str, ...]) -> list[str]:
    return [f"  {title}: {_few(list(names), most=6)}"] if names else []
