"""Which layout a file follows, from its names and sizes alone."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from uda_hydra.models.checkpoints.layouts import BACKBONE_WRITTEN_HERE, LAYOUTS, WRITTEN_HERE
from uda_hydra.models.checkpoints.names import Fit, abbreviate, fit
from uda_hydra.models.checkpoints.parts import HEADS
from uda_hydra.models.checkpoints.weight_layout import COUNTER, WeightLayout

TOLERANCE = 0.05
"""Share of a file's names that may be unknown: enough for one more layer, not for another head."""


class Recognised(NamedTuple):
    """A layout, and the tensors under its own names."""

    layout: WeightLayout
    tensors: dict[str, Tensor]


def identify(tensors: dict[str, Tensor], file: str, *, container: str = "flat") -> Recognised:
    """Find the layout of a file's ``tensors``.

    A first part that all names share ("Scale.", "model.") is dropped if no layout fits with it,
    as in the official code. Raises ValueError naming the nearest layout if none fits.
    """
    if container == "uda_hydra":
        whole = any(name.startswith(HEADS) for name in tensors)
        return Recognised(WRITTEN_HERE if whole else BACKBONE_WRITTEN_HERE, tensors)
    candidates = [tensors]
    while len(candidates[-1]) == len(shorter := _without_first_part(candidates[-1])):
        candidates.append(shorter)
    for candidate in candidates:
        layout = _fitting(candidate, container)
        if layout is not None:
            return Recognised(layout, candidate)
    raise ValueError(_unknown(candidates, file))


def _fitting(tensors: dict[str, Tensor], container: str) -> WeightLayout | None:
    """The layout with the fewest unknown names; the file's own container decides a tie."""
    best: tuple[int, bool] | None = None
    found = None
    for layout in LAYOUTS:
        lacking, unknown = fit(tensors, layout)
        if lacking or len(unknown) > TOLERANCE * len(tensors) or not _marked(tensors, layout):
            continue
        rank = (len(unknown), layout.container != container)
        if best is None or rank < best:
            best, found = rank, layout
    return found


def _marked(tensors: dict[str, Tensor], layout: WeightLayout) -> bool:
    if layout.mark is None:
        return True
    name, dimension, size = layout.mark
    shape = tensors[name].shape if name in tensors else ()
    old = not any(name.endswith(COUNTER) for name in tensors)
    return old and len(shape) > dimension and shape[dimension] == size


def _without_first_part(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without the first dotted part of their names; none if they do not share it."""
    shared = {name.partition(".")[0] for name in tensors}
    if len(shared) > 1 or not all(name.partition(".")[2] for name in tensors):
        return {}
    return {name.partition(".")[2]: tensor for name, tensor in tensors.items()}


def _unknown(candidates: list[dict[str, Tensor]], file: str) -> str:
    fits = [(layout, fit(names, layout), len(names)) for names in candidates for layout in LAYOUTS]
    layout, (lacking, unknown), count = min(fits, key=lambda entry: _distance(*entry))
    why = []
    if lacking:
        why.append(f"no name starts with {abbreviate(lacking)}")
    if unknown:
        why.append(
            f"{len(unknown)} of {count} are unknown there, like {abbreviate(unknown, most=2)}"
        )
    return (
        f"init={file}: unknown layout, with names like {abbreviate(candidates[0])}. The nearest is "
        f"{layout.name} ({layout.title}), but {' and '.join(why)}. "
        f"Known are: {', '.join(layout.name for layout in LAYOUTS)}."
    )


def _distance(layout: WeightLayout, fitting: Fit, count: int) -> float:
    needed = len(layout.pairs) - len(layout.optional)
    return len(fitting.lacking) / needed + len(fitting.unknown) / count
