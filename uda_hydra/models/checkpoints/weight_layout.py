"""What is known of one family of weight files."""

from __future__ import annotations

from typing import NamedTuple

from uda_hydra.models.checkpoints.parts import Pairs


class Mark(NamedTuple):
    """A tensor's size that distinguishes a layout from another with the same names."""

    name: str
    dimension: int
    size: int


class WeightLayout(NamedTuple):
    """How one family of files names its tensors."""

    name: str
    """The name that ``layout=`` takes."""
    title: str
    """The project that writes such files."""
    pairs: Pairs
    optional: tuple[str, ...] = ()
    """Prefixes of theirs that a file may lack."""
    container: str = "flat"
    """The structure that the official code wraps them in: a name in ``containers``."""
    may_be_missing: tuple[str, ...] = ("projector.",)
    """Prefixes of our names that may stay as initialised when such a file is loaded."""
    mark: Mark | None = None
    take: str = "segmenter."
    """Prefix of what is written in this layout, among the names of a method's checkpoint."""
