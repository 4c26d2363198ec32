"""Toy methods: each the simplest form of one kind that the contract has to carry."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import uda_hydra.losses as L
from uda_hydra.augment.warp import warp_batch
from uda_hydra.memory import EmaTeacher, ema_momentum
from uda_hydra.methods.base import Losses, Method, Passes, Player, Store, Update
from uda_hydra.types import Source, Step, Target


class ClassMix(Method):
    """DACS: an EMA teacher labels the target, onto which half of the source's classes are pasted.

    Source and target are cut to one size by the augmentation.
    """

    terms = ("seg", "mixed")

    def __init__(self, segmenter: nn.Module) -> None:
        super().__init__(segmenter)
        self.teacher = EmaTeacher(segmenter, drops=False)

    def before_step(self, step: Step) -> None:
        momentum = ema_momentum(step.number, limit=0.7)
        self.teacher.follow(self.segmenter, momentum=momentum, buffers="keep")

    def losses(self, source: Source, target: Target, step: Step) -> Losses:
        prediction = self.segmenter(source.image)
        yield Update("segmenter", seg=L.segmentation(prediction.main, source.label))

        logits = L.logits(self.teacher(target.image), target.image.shape[-2:])["main"]
        confidence, pseudo_label = L.probabilities(logits).max(dim=1)
        paste = class_mask(source.label)
        image = source.image.where(paste[:, None], target.image)
        label = source.label.where(paste, pseudo_label)
        weight = torch.ones_like(confidence).where(paste, (confidence > 0.1).float().mean())
        mixed = self.segmenter(image).main
        yield Update("segmenter", mixed=L.segmentation(mixed, label, weight, over="all"))


def class_mask(label: Tensor) -> Tensor:
    """Where a label is one of the classes drawn for its image, each with an even chance."""
    chosen = torch.rand(len(label), 256, device=label.device) < 0.5
    return chosen.gather(1, label.flatten(1)).view_as(label)


class Projected(Method):
    """A projection head that learns together with the segmenter, from one loss and one graph."""

    terms = ("seg", "agreement")
    clip_norm = 1.0

    def __init__(self, segmenter: nn.Module) -> None:
        super().__init__(segmenter)
        self.projector = nn.Conv2d(segmenter.feature_channels, 4, 1)

    def players(self) -> dict[str, Player]:
        return super().players() | {"projector": Player(self.projector, "head")}

    def losses(self, source: Source, target: Target, step: Step) -> Losses:
        prediction = self.segmenter(source.image)
        yield Update("segmenter", seg=L.segmentation(prediction.main, source.label))

        one, other = (
            self.projector(self.segmenter(image).features)
            for image in (target.image, target.image.flip(3))
        )
        # Kept apart from 1 by what the two convolutions see at the borders.
        agreement = 1 - F.cosine_similarity(one, other.flip(3), dim=1).mean()
        yield Update("segmenter", "projector", agreement=agreement)


class Fooling(Method):
    """The smallest adversarial method; nothing but the player keeps its losses apart."""

    terms = ("seg", "adv", "disc")

    def __init__(self, segmenter: nn.Module) -> None:
        super().__init__(segmenter)
        self.discriminator = nn.Conv2d(segmenter.num_classes, 1, 1)

    def players(self) -> dict[str, Player]:
        discriminator = Player(self.discriminator, "discriminator")
        return super().players() | {"discriminator": discriminator}

    def losses(self, source: Source, target: Target, step: Step) -> Losses:
        seg = L.segmentation(self.segmenter(source.image).main, source.label)
        logits = self.segmenter(target.image).main
        adv = L.gan(self.discriminator(logits), L.SOURCE, kind="ls")
        yield Update("segmenter", seg=seg, adv=adv)
        scores = self.discriminator(logits.detach())
        yield Update("discriminator", disc=L.gan(scores, L.TARGET, kind="ls"))


class SelfTrained(Method):
    """Hard labels of the target, stored before the first step, teach a strong view of each crop.

    Classes that are rare among the stored labels weigh more.
    """

    terms = ("seg", "pseudo")

    def __init__(self, segmenter: nn.Module) -> None:
        super().__init__(segmenter)
        self.register_buffer("weight", torch.ones(segmenter.num_classes))
        self.labels: Store | None = None

    def prepare(self, passes: Passes) -> None:
        self.labels = passes.run(
            "labels", over="target", compute=self.label, batch=4, encoding="uint8", kind="label"
        )
        self.weight.copy_(passes.summary("weight", self.class_weight, of=self.labels))

    def stored(self) -> dict[str, Store]:
        return {"labels": self.labels}

    def label(self, target: Target) -> Tensor:
        return L.logits(self.segmenter(target.image), target.image.shape[-2:])["main"].argmax(1)

    def class_weight(self, labels: Iterator[Tensor]) -> Tensor:
        count = sum(label.flatten().bincount(minlength=len(self.weight)) for label in labels)
        return 1 / (1 + count / count.sum())

    def losses(self, source: Source, target: Target, step: Step) -> Losses:
        prediction = self.segmenter(source.image)
        yield Update("segmenter", seg=L.segmentation(prediction.main, source.label))

        label = warp_batch(target.stored["labels"], target.strong_view, kind="label").long()
        weight = self.weight[label.clamp(max=len(self.weight) - 1)]
        strong = self.segmenter(target.strong).main
        yield Update("segmenter", pseudo=L.segmentation(strong, label, weight))
