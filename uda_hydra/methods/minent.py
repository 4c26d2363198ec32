"""MinEnt: entropy minimisation on the target (Vu et al., CVPR 2019)."""

from __future__ import annotations

import torch
from torch import nn

import uda_hydra.losses as L
from uda_hydra.methods.base import Losses, Method, Passes, Update, require
from uda_hydra.types import SUFFIX, Source, Step, Target


class MinEnt(Method):
    """Every head becomes sure of the target; two options of the paper say where, and of what."""

    terms = ("seg", "seg_aux", "ent", "ent_aux", "prior", "prior_aux")

    def __init__(
        self, segmenter: nn.Module, *, hardest: float, prior_strictness: float | None
    ) -> None:
        super().__init__(segmenter)
        require("hardest", hardest, "in (0, 1]", 0 < hardest <= 1)
        fits = prior_strictness is None or 0 <= prior_strictness <= 1
        require("prior_strictness", prior_strictness, "null or in [0, 1]", fits)
        self.hardest = hardest
        self.prior_strictness = prior_strictness
        self.register_buffer("source_share", torch.zeros(segmenter.num_classes))

    def prepare(self, passes: Passes) -> None:
        """Count the classes in the source's labels, where the prior asks for it."""
        if self.prior_strictness is not None:
            frequency = passes.source_statistics().frequency
            self.source_share.copy_(torch.from_numpy(frequency))

    def losses(self, source: Source, target: Target, step: Step) -> Losses:
        """Supervised source, then the entropy of the target."""
        source_prediction = self.segmenter(source.image)
        yield Update("segmenter", **L.supervised(source_prediction, source.label))

        # Eq. 3 on every head, and the class-ratio prior (Sec. 3.4).
        terms = {}
        heads = L.logits(self.segmenter(target.image), target.image.shape[-2:])
        for head, logits in heads.items():
            probability = L.probabilities(logits)
            terms[f"ent{SUFFIX[head]}"] = L.entropy(probability, hardest=self.hardest)
            if self.prior_strictness is not None:
                terms[f"prior{SUFFIX[head]}"] = L.class_prior(
                    probability, self.source_share, strictness=self.prior_strictness
                )
        yield Update("segmenter", **terms)
