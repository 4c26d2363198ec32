"""Label spaces of any size."""

from __future__ import annotations

import colorsys

from uda_hydra.data.label_space import LabelSpace


def space(*names: str, **subsets: tuple[str, ...]) -> LabelSpace:
    """A label space of these classes, in colours around the wheel."""
    wheel = (
        colorsys.hsv_to_rgb(i / len(names), 0.6 + 0.4 * (i % 2), 0.9) for i in range(len(names))
    )
    colours = tuple(tuple(round(255 * part) for part in colour) for colour in wheel)
    return LabelSpace("made", names, colours, subsets)


def numbered(size: int) -> LabelSpace:
    """A label space of so many classes without meaning."""
    return space(*(f"class {number}" for number in range(size)))
