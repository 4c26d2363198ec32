"""Class-balanced self-training: CBST (Zou et al., ECCV 2018) and CRST (Zou et al., ICCV 2019).

One round: labels of the surest share of each class, then training on both domains. A run's rounds
are its stages. What every option does is said in its YAML.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

import uda_hydra.losses as L
from uda_hydra.methods.base import (
    Item,
    Losses,
    Method,
    Passes,
    Store,
    Update,
    require,
    require_choice,
)
from uda_hydra.types import IGNORE, Source, Step, Target, upsample


class CBST(Method):
    """Labelled pixels of both domains count alike; a regulariser keeps the target's soft."""

    terms = ("seg", "seg_aux", "reg")

    def __init__(self, segmenter: nn.Module, *, portion: float, regularizer: str) -> None:
        super().__init__(segmenter)
        require("portion", portion, "in (0, 1]", 0 < portion <= 1)
        require_choice("regularizer", regularizer, *L.REGULARIZERS)
        self.portion = portion
        self.regularizer = regularizer
        self.register_buffer("thresholds", torch.ones(segmenter.num_classes))
        self.labels: Store | None = None
        self.seen: dict[str, Tensor] = {}

    def prepare(self, passes: Passes) -> None:
        """One pass finds how sure each class's surest share is, a second one labels by it."""
        counts = passes.run(
            "confidence",
            over="target",
            compute=lambda target: L.confidence_counts(self.probability(target)),
        )
        settings = {"portion": self.portion}
        found = passes.summary("thresholds", self.threshold, of=counts, depends_on=settings)
        self.thresholds.copy_(found)
        self.labels = passes.run(
            "labels",
            over="target",
            compute=lambda t: L.balanced_label(self.probability(t), self.thresholds),
            encoding="uint8",
            kind="label",
            depends_on=settings,
        )

    def probability(self, target: Target) -> Float[Tensor, "b k h w"]:
        """Mean of the image and of its mirror image, at its size; logits are enlarged."""
        size = tuple(target.image.shape[-2:])
        looks = (
            L.probabilities(upsample(L.full_precision(self.segmenter(image).main), size))
            for image in (target.image, target.image.flip(3))
        )
        plain, mirrored = looks
        return (plain + mirrored.flip(3)) / 2

    def threshold(self, counts: Iterator[Item]) -> Float[Tensor, " k"]:
        """Which confidence the surest ``portion`` of each class's pixels reaches in all images."""
        total = sum(item.long() for item in counts)
        rank = (total.sum(dim=1).double() * self.portion).floor().long()
        return L.confidence_at(total, rank)

    def stored(self) -> dict[str, Store]:
        """The labels."""
        return {"labels": self.labels}

    def losses(self, source: Source, target: Target, step: Step) -> Losses:
        """The mean over all labelled pixels of both domains, in one update."""
        label = target.stored["labels"].long()
        seen, prediction = self.segmenter(source.image), self.segmenter(target.image)
        pairs = {"seg": (seen.main, prediction.main)}
        if prediction.aux is not None:
            pairs["seg_aux"] = (seen.aux, prediction.aux)
        terms = {
            name: pooled_segmentation((own, source.label), (other, label))
            for name, (own, other) in pairs.items()
        }
        logits = upsample(L.full_precision(prediction.main), tuple(label.shape[-2:]))
        terms["reg"] = L.REGULARIZERS[self.regularizer](logits, label)
        yield Update("segmenter", **terms)
        self.seen = L.label_shares(label, len(self.thresholds))

    def monitor(self) -> dict[str, Tensor]:
        """Shares of the batch's target pixels that carry a label, and the thresholds."""
        thresholds = {f"threshold/{k}": value for k, value in enumerate(self.thresholds)}
        return thresholds | self.seen


def pooled_segmentation(
    *parts: tuple[Float[Tensor, "b k _ _"], Integer[Tensor, "b _ _"]],
) -> Float[Tensor, ""]:
    """Mean cross-entropy over the labelled pixels of all parts together, 0 without one."""
    counts = [(label != IGNORE).sum() for _, label in parts]
    total = sum(
        L.segmentation(logits, label) * count
        for (logits, label), count in zip(parts, counts, strict=True)
    )
    return total / sum(counts).clamp(min=1)
