"""Pseudo labels of the target, and self-training on them: the last two stages of ProCA.

Jiang et al., ECCV 2022, after FADA (Wang et al., ECCV 2020). The two methods are run one after the
other, or the second alone, which then labels the target by the weights to begin with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

import uda_hydra.losses as L
from uda_hydra.losses.class_threshold import Place
from uda_hydra.methods._labels import check_label_folder
from uda_hydra.methods.base import (
    Losses,
    Method,
    Passes,
    Preparation,
    Store,
    Update,
    require,
    require_fraction,
)
from uda_hydra.types import IGNORE, Source, Step, Target, upsample

Size = tuple[int, int] | None
"""Height and width; None for those of the image."""


class PseudoLabels(Preparation):
    """Labels of every target image where the network is sure enough; nothing is trained."""

    def __init__(
        self,
        segmenter: nn.Module,
        *,
        threshold_percent: float,
        cap: float,
        test_size: Sequence[int] | None,
        label_size: Sequence[int] | None,
    ) -> None:
        super().__init__(segmenter)
        self.labeller = Labeller(
            segmenter,
            percent=threshold_percent,
            cap=cap,
            test_size=test_size,
            label_size=label_size,
        )
        self.register_buffer("thresholds", torch.zeros(segmenter.num_classes, dtype=torch.float64))
        self.register_buffer("shares", torch.zeros(segmenter.num_classes))

    def prepare(self, passes: Passes) -> None:
        """One pass of the network over the target; thresholds and labels are made of its logits."""
        _, thresholds, shares = self.labeller.label(passes)
        self.thresholds.copy_(thresholds)
        self.shares.copy_(shares)

    def monitor(self) -> dict[str, Tensor]:
        """Thresholds, and shares of the pixels that carry a label, by the class's number."""
        thresholds = {f"threshold/{k}": value for k, value in enumerate(self.thresholds)}
        return thresholds | named_shares(self.shares)


class SelfTraining(Method):
    """Supervised by pseudo labels of the target alone; the source is not looked at."""

    terms = ("seg", "seg_aux")

    def __init__(
        self,
        segmenter: nn.Module,
        *,
        labels: str | None,
        threshold_percent: float,
        cap: float,
        test_size: Sequence[int] | None,
        label_size: Sequence[int] | None,
    ) -> None:
        super().__init__(segmenter)
        check_label_folder(labels)
        self.folder = labels
        self.labeller = Labeller(
            segmenter,
            percent=threshold_percent,
            cap=cap,
            test_size=test_size,
            label_size=label_size,
        )

    def prepare(self, passes: Passes) -> None:
        """Open the labels of the folder, or make them."""
        if self.folder is None:
            self.labels, *_ = self.labeller.label(passes)
        else:
            self.labels = passes.open(self.folder, over="target", kind="label")

    def losses(self, source: Source, target: Target, step: Step) -> Losses:
        """One update."""
        label = target.stored["labels"].long()
        self.seen = L.label_shares(label, self.segmenter.num_classes)
        yield Update("segmenter", **L.supervised(self.segmenter(target.image), label))


class Labeller:
    """Makes pseudo labels of a network's logits, which it computes once.

    ``percent`` is the share of each class's pixels that get no label, unless they are surer than
    ``cap``. The confidences that decide it are those at ``test_size`` (width, height), the labels
    are made at ``label_size``; None is the size of the training image.
    """

    def __init__(
        self,
        segmenter: nn.Module,
        *,
        percent: float,
        cap: float,
        test_size: Sequence[int] | None,
        label_size: Sequence[int] | None,
    ) -> None:
        require_fraction(threshold_percent=percent, cap=cap)
        for key, size in {"test_size": test_size, "label_size": label_size}.items():
            fits = size is None or (len(size) == 2 and min(size) > 0)
            require(key, size, "[width, height] in pixels or null", fits)
        self.segmenter = segmenter
        self.percent, self.cap = percent, cap
        self.test_size = None if test_size is None else (test_size[1], test_size[0])
        self.label_size = None if label_size is None else (label_size[1], label_size[0])

    def label(self, passes: Passes) -> tuple[Store, Tensor, Tensor]:
        """The labels, each class's threshold, and the share of all pixels that it labels."""
        logits = passes.run("logits", over="target", compute=self.logits)
        settings = {"percent": self.percent, "cap": self.cap, "test_size": self.test_size}
        found = passes.summary("bins", self.places, of=logits, depends_on=settings)
        place = Place(found["count"], found["bin"], found["rank"])

        def thresholds_of(items: Iterator[dict[str, Tensor]]) -> Float[Tensor, " k"]:
            parts = (self.confidence(item, self.test_size) for item in items)
            inside = (L.values_in_bins(p, c, place, self.cap) for p, c in parts)
            return L.class_thresholds(inside, place, self.cap)

        thresholds = passes.summary("thresholds", thresholds_of, of=logits, depends_on=settings)
        labels = passes.run(
            "labels",
            over="target",
            compute=lambda target: self.labels(target, logits, thresholds),
            encoding="uint8",
            kind="label",
            depends_on=settings | {"label_size": self.label_size},
        )
        return labels, thresholds, passes.summary("shares", self.shares, of=labels)

    def logits(self, target: Target) -> dict[str, Tensor]:
        """The main head's logits at the network's resolution, and the image's size."""
        logits = L.full_precision(self.segmenter(target.image).main)
        size = torch.tensor([target.image.shape[-2:]] * len(logits))
        return {"logits": logits, "size": size}

    def confidence(self, item: dict[str, Tensor], size: Size) -> tuple[Tensor, Tensor]:
        """Confidence and class of every pixel, at ``size``."""
        size = size or tuple(item["size"].tolist())
        logits = item["logits"][None].to(next(self.segmenter.parameters()).device)
        return L.probabilities(upsample(logits, size))[0].max(dim=0)

    def places(self, items: Iterator[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Where the thresholds are among all images' confidences."""
        classes = self.segmenter.num_classes
        parts = (self.confidence(item, self.test_size) for item in items)
        total = sum(L.confidence_histogram(p, c, classes) for p, c in parts)
        return L.bins_at(total, self.percent)._asdict()

    def labels(
        self, target: Target, logits: Store, thresholds: Float[Tensor, " k"]
    ) -> UInt8[Tensor, "b h w"]:
        """The class of each pixel that is at least as sure as its class's threshold."""
        items = [self.confidence(logits.read(key), self.label_size) for key in target.key]
        return torch.stack([L.sure_label(p, c, thresholds) for p, c in items]).to(torch.uint8)

    def shares(self, labels: Iterator[UInt8[Tensor, "h w"]]) -> Float[Tensor, " k"]:
        """Share of all pixels that each class labels."""
        counts, pixels = torch.zeros(IGNORE + 1, dtype=torch.int64), 0
        for label in labels:
            counts += label.flatten().bincount(minlength=IGNORE + 1)
            pixels += label.numel()
        return counts[: self.segmenter.num_classes] / pixels


def named_shares(shares: Float[Tensor, " k"]) -> dict[str, Tensor]:
    """By the names of ``L.label_shares``."""
    named = {f"pseudo_share/{k}": share for k, share in enumerate(shares)}
    return {"pseudo_share/all": shares.sum()} | named
