"""What is known of one family of weight files."""

from __future__ import annotations

from typing import NamedTuple

from uda_hydra.models.checkpoints.parts import Pairs

COUNTER = "num_batches_tracked"
"""Of a batch norm, since torch 0.4.1."""


class Mark(NamedTuple):
    """A tensor's size that distinguishes a layout from another with the same names.

    Files of such a layout are so old that their batch norms have no ``COUNTER``.
    """

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
