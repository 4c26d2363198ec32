"""A last stage that reads the weights of an earlier one in ``prepare``."""

from __future__ import annotations

from pathlib import Path

import torch

import uda_hydra.losses as L
from uda_hydra.methods.base import Method, Update


class ToyDistil(Method):
    """Supervised, and as far from its teacher's file as ``distance`` says."""

    terms = ("seg", "seg_aux")

    def __init__(self, segmenter, *, teacher_checkpoint: str, strength: float) -> None:
        super().__init__(segmenter)
        if strength <= 0:
            raise ValueError(f"method.strength must be positive, got {strength}")
        self.teacher_checkpoint = teacher_checkpoint
        self.register_buffer("distance", torch.zeros(()))

    def prepare(self, *_) -> None:
        """Read the teacher, which an earlier stage has made by now."""
        state = torch.load(Path(self.teacher_checkpoint), weights_only=True)["method"]
        own = self.state_dict()
        self.distance.fill_(sum((own[n] - v).abs().sum() for n, v in state.items() if n in own))

    def losses(self, source, target, _):
        """Of the source alone."""
        yield Update("segmenter", **L.supervised(self.segmenter(source.image), source.label))
