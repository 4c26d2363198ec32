"""Class-balanced self-training: CBST (Zou et al., ECCV 2018) and CRST (Zou et al., ICCV 2019).

One round: labels of the surest share of each class, then training on both domains. A run's rounds
are its stages. What every option does is said in its YAML.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Integer
from torch import Tensor, nn

import uda_hydra.losses as L
from uda_hydra.augment.guided import MinedCrop
from uda_hydra.methods.base import (
    Item,
    Losses,
    Method,
    Passes,
    Store,
    Update,
    require,
    require_choice,
    require_positive,
)
from uda_hydra.types import IGNORE, Source, Step, Target, upsample


class CBST(Method):
    """Labelled pixels of both domains count alike; a regulariser keeps the target's soft."""

    terms = ("seg", "seg_aux", "reg")

    def __init__(
        self,
        segmenter: nn.Module,
        *,
        portion: float,
        regularizer: str | None,
        soft_alpha: float | None,
        rare_share: float | None,
    ) -> None:
        super().__init__(segmenter)
        require("portion", portion, "in (0, 1]", 0 < portion <= 1)
        if regularizer is not None:
            require_choice("regularizer", regularizer, *L.REGULARIZERS)
        require_positive(soft_alpha=soft_alpha, rare_share=rare_share)
        self.portion = portion
        self.regularizer = regularizer
        self.soft_alpha = soft_alpha
        self.rare_share = rare_share
        self.register_buffer("thresholds", torch.ones(segmenter.num_classes))
        self.stores: dict[str, Store] = {}

    def check_views(self, augmentation: object) -> None:
        """Mining needs both: crops that look for rare classes, and which are rare."""
        if isinstance(augmentation, MinedCrop) != (self.rare_share is not None):
            raise ValueError(
                "small objects are mined with augmentation=mined_crop and a method.rare_share, "
                f"such as 1e-3, together; method.rare_share is {self.rare_share}"
            )

    def prepare(self, passes: Passes) -> None:
        """One pass finds how sure each class's surest share is, a second one labels by it."""
        counts = passes.run("log_odds", over="target", compute=self.confidences)
        settings = {"portion": self.portion, "soft_alpha": self.soft_alpha}
        found = passes.summary("thresholds", self.threshold, of=counts, depends_on=settings)
        self.thresholds.copy_(found)
        kept = {"labels": {"encoding": "uint8", "kind": "label"}}
        if self.soft_alpha is not None:
            kept["soft"] = {"encoding": "float16"}
        self.stores = {
            **passes.run_all(kept, over="target", compute=self.label, depends_on=settings)
        }
        if self.rare_share is not None:
            pixels = passes.summary("pixels", class_pixels, of=counts)
            rare = (pixels > 0) & (pixels < self.rare_share * pixels.sum())
            self.stores["rare"] = SomeLabels(self.stores["labels"], rare.nonzero().flatten())

    def confidences(self, target: Target) -> Int[Tensor, "b k bins"]:
        """How sure the pixels of each class are."""
        size = tuple(target.image.shape[-2:])
        return L.image_histograms(mean_probability(self.looks(target), size))

    def label(self, target: Target) -> dict[str, Tensor]:
        """Hard labels at the image's size, and soft ones at the network's resolution."""
        looks = self.looks(target)
        probability = mean_probability(looks, tuple(target.image.shape[-2:]))
        if self.soft_alpha is None:
            return {"labels": L.balanced_label(probability, self.thresholds)}
        sharpen = {"thresholds": self.thresholds, "alpha": self.soft_alpha}
        _, used = L.entropy_regularized_label(probability, **sharpen)
        label = (probability / self.thresholds[:, None, None]).argmax(dim=1).where(used, IGNORE)
        small = mean_probability(looks, tuple(looks[0].shape[-2:]))
        soft, _ = L.entropy_regularized_label(small, **sharpen)
        return {"labels": label, "soft": soft}

    def looks(self, target: Target) -> list[Float[Tensor, "b k _ _"]]:
        """Logits of the image and of its mirror image, as the network returns them."""
        images = (target.image, target.image.flip(3))
        return [L.full_precision(self.segmenter(image).main) for image in images]

    def threshold(self, counts: Iterator[Item]) -> Float[Tensor, " k"]:
        """Which confidence the surest ``portion`` of each class's pixels reaches in all images."""
        return L.portion_thresholds(sum(item.long() for item in counts), self.portion)

    def stored(self) -> dict[str, Store]:
        """The labels, and those of rare classes, around which target images are cropped."""
        return self.stores

    def losses(self, source: Source, target: Target, step: Step) -> Losses:
        """The mean over all labelled pixels of both domains, in one update."""
        label, soft = target.stored["labels"].long(), target.stored.get("soft")
        seen, prediction = self.segmenter(source.image), self.segmenter(target.image)
        pairs = {"seg": (seen.main, prediction.main)}
        if prediction.aux is not None:
            pairs["seg_aux"] = (seen.aux, prediction.aux)
        terms = {}
        for name, (known, guessed) in pairs.items():
            learnt = (
                L.segmentation(guessed, label)
                if soft is None
                else L.soft_cross_entropy(guessed, soft, label)
            )
            supervised = L.segmentation(known, source.label)
            terms[name] = pooled((supervised, source.label), (learnt, label))
        if self.regularizer is not None:
            logits = upsample(L.full_precision(prediction.main), tuple(label.shape[-2:]))
            terms["reg"] = L.REGULARIZERS[self.regularizer](logits, label)
        yield Update("segmenter", **terms)
        self.seen = L.label_shares(label, len(self.thresholds))

    def monitor(self) -> dict[str, Tensor]:
        """Shares of the batch's target pixels that carry a label, and the thresholds."""
        thresholds = {f"threshold/{k}": value for k, value in enumerate(self.thresholds)}
        return thresholds | self.seen


def mean_probability(
    looks: Sequence[Float[Tensor, "b k _ _"]], size: tuple[int, int]
) -> Float[Tensor, "b k h w"]:
    """Of an image and of its mirror image; the logits are enlarged to ``size``."""
    return L.two_look_probability(*(upsample(logits, size) for logits in looks), size)


def pooled(*parts: tuple[Float[Tensor, ""], Integer[Tensor, "b _ _"]]) -> Float[Tensor, ""]:
    """The mean over the labelled pixels of all parts, from each part's mean and its labels."""
    counts = [(label != IGNORE).sum() for _, label in parts]
    total = sum(mean * count for (mean, _), count in zip(parts, counts, strict=True))
    return total / sum(counts).clamp(min=1)


def class_pixels(counts: Iterator[Item]) -> Integer[Tensor, " k"]:
    """How many pixels of all images are most probably each class."""
    return sum(item.long().sum(dim=1) for item in counts)


@dataclass(frozen=True)
class SomeLabels:
    """Stored labels of some classes alone; the others are ignored."""

    labels: Store
    classes: Integer[Tensor, " n"]
    kind = "label"
    stride = 1

    @property
    def keys(self) -> tuple[str, ...]:
        """Those of all labels."""
        return self.labels.keys

    def read(self, key: str) -> Tensor:
        """The labels of one image."""
        label = self.labels.read(key)
        return label.where(torch.isin(label, self.classes.to(label.dtype)), IGNORE)
