"""Pseudo labels of a whole stage, for methods that learn them as they are."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Int64
from torch import Tensor, nn

import uda_hydra.losses as L
from uda_hydra.methods.base import Passes, Store
from uda_hydra.models.checkpoints.buffers import check_there
from uda_hydra.types import Target

STRIDE = 4
"""ProDA's: pixels of the image for each cell of labels, distances and features."""


def check_label_folder(folder: str | None) -> None:
    """Raise MissingFile, naming ``method.labels``, unless a pass has stored something there."""
    null = "lets the first weights make the labels"
    check_there(folder, key="method.labels", null=null, marker="identity.json")


def target_labels(
    passes: Passes, folder: str | None, compute: Callable[[Target], Tensor], *, stride: int = 1
) -> Store:
    """The labels in the folder of an earlier stage; without one, what ``compute`` makes now."""
    kind = {"over": "target", "kind": "label", "stride": stride}
    if folder is not None:
        return passes.open(folder, **kind)
    return passes.run("labels", compute=compute, encoding="uint8", **kind)


def most_probable(
    segmenter: nn.Module, target: Target, *, aux_weight: float = 0.0
) -> Int64[Tensor, "b h w"]:
    """The class of each pixel, of both heads together where the auxiliary one has a weight."""
    logits = L.logits(segmenter(target.image), target.image.shape[-2:])
    return (logits["main"] + aux_weight * logits.get("aux", 0)).argmax(dim=1)
