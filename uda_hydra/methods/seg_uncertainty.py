"""Rectified pseudo labels (Zheng and Yang, IJCV 2021), second stage, as released.

Where the two heads of a network disagree, its pseudo labels count less. It looks at the target
alone. What every option does is said in its YAML.
"""

from __future__ import annotations

from functools import partial

from torch import nn

import uda_hydra.losses as L
from uda_hydra.memory import ClassBalance
from uda_hydra.methods._labels import check_label_folder, most_probable, target_labels
from uda_hydra.methods.base import Losses, Method, Passes, Update
from uda_hydra.types import SUFFIX, Source, Step, Target

AUX_WEIGHT = 0.5
"""Of the auxiliary head's logits where both heads label together."""


class SegUncertainty(Method):
    """Each head learns the labels, discounted by its distance to the other, and comes near it."""

    terms = ("seg", "seg_aux", "variance", "variance_aux")

    def __init__(
        self, segmenter: nn.Module, *, labels: str | None, max_weight: float, rare_share: float
    ) -> None:
        super().__init__(segmenter)
        check_label_folder(labels)
        self.folder = labels
        self.balance = ClassBalance(
            segmenter.num_classes, max_weight=max_weight, rare_share=rare_share
        )

    def prepare(self, passes: Passes) -> None:
        """Open the labels of an earlier stage, or let the first weights make them."""
        own = partial(most_probable, self.segmenter, aux_weight=AUX_WEIGHT)
        self.labels = target_labels(passes, self.folder, own)

    def losses(self, source: Source, target: Target, step: Step) -> Losses:
        """Both heads in one update. Nothing is detached: every term trains both."""
        label = target.stored["labels"].long()
        weight = self.balance.take(label)
        logits = L.logits(self.segmenter(target.image), label.shape[-2:])
        terms = {}
        for head, own in logits.items():
            # A network with one head has nothing to compare: its labels count in full.
            other = logits["aux" if head == "main" and "aux" in logits else "main"]
            variance = L.prediction_variance(own, other)
            sure = weight * (-variance).exp()
            terms[f"seg{SUFFIX[head]}"] = L.segmentation(own, label, sure, over="all")
            terms[f"variance{SUFFIX[head]}"] = variance.mean()
        yield Update("segmenter", **terms)
        self.seen = L.label_shares(label, self.segmenter.num_classes)
