"""A method that reads its teacher where it is constructed."""

from __future__ import annotations

from pathlib import Path

import uda_hydra.losses as L
from uda_hydra.methods.base import Method, Update


class ToyEager(Method):
    """Supervised; the teacher's file must be there when the method is built."""

    terms = ("seg", "seg_aux")

    def __init__(self, segmenter, *, teacher: dict[str, str]) -> None:
        super().__init__(segmenter)
        Path(teacher["checkpoint"]).read_bytes()

    def losses(self, source, target, _):
        """Of the source alone."""
        yield Update("segmenter", **L.supervised(self.segmenter(source.image), source.label))
