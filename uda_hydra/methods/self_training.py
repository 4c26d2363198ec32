"""Self-training with a running mean: DACS (Tranheden et al., WACV 2021), DAFormer and MIC.

DAFormer (Hoyer et al., CVPR 2022) and MIC (Hoyer et al., CVPR 2023) add a term each, which an
option switches on; the rest of DAFormer is its network, its optimiser and its sampler.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

import uda_hydra.losses as L
from uda_hydra.augment.margins import Margins, inside_margins
from uda_hydra.augment.mask import block_cells, block_mask
from uda_hydra.augment.mix import choose_half, class_mask, mix, present_values
from uda_hydra.augment.variation import Chances, draw_variation, vary
from uda_hydra.memory import EmaTeacher, Frozen, ema_momentum
from uda_hydra.methods.base import (
    Losses,
    Method,
    Passes,
    Player,
    Store,
    Update,
    check_one_size,
    require,
    require_choice,
    require_fraction,
)
from uda_hydra.types import Prediction, Source, Step, Target, upsample


class SelfTraining(Method):
    """A teacher labels the target; the student learns it under pasted classes and hidden blocks.

    A ``host`` is another method around the same segmenter, to whose losses these are added: MIC on
    AdaptSegNet. Then the host alone learns from the labels of the source.
    """

    added = ("distance", "mixed", "masked")
    """The terms that join those of a host."""
    terms = ("seg", "seg_aux", *added)

    def __init__(
        self,
        segmenter: nn.Module,
        *,
        host: Method | None = None,
        ema_momentum: float,
        teacher_follows: str,
        threshold: float,
        mirror_labels: bool,
        confidence: str,
        margins: Sequence[float] | None,
        mix: str | None,
        jitter_probability: float,
        jitter_strength: float,
        blur_probability: float,
        distance_classes: Sequence[int] | None,
        distance_share: float,
        mask_ratio: float | None,
        mask_block: int,
        mask_tokens: bool,
        detail_weight: float,
        source_mean: str,
        align_corners: bool,
    ) -> None:
        super().__init__(segmenter)
        require_fraction(
            ema_momentum=ema_momentum,
            threshold=threshold,
            jitter_probability=jitter_probability,
            jitter_strength=jitter_strength,
            blur_probability=blur_probability,
            distance_share=distance_share,
            detail_weight=detail_weight,
        )
        require_choice("teacher_follows", teacher_follows, "before", "after")
        require_choice("confidence", confidence, "batch", "image")
        require("mix", mix, "null, image, batch or none", mix in (None, "image", "batch", "none"))
        require_choice("source_mean", source_mean, "all", "valid")
        require("mask_block", mask_block, "positive", mask_block > 0)
        tokens = not mask_tokens or segmenter.backbone.mask_token is not None
        require("mask_tokens", mask_tokens, "false without model.mask_token", tokens)
        require("mask_ratio", mask_ratio, "null or in [0, 1]", 0 <= (mask_ratio or 0) <= 1)
        fits = margins is None or (len(margins) == 4 and min(margins) >= 0 and max(margins) < 1)
        require("margins", margins, "null or shares [top, bottom, left, right]", fits)
        known = all(0 <= one < segmenter.num_classes for one in distance_classes or ())
        wanted = f"null or class numbers below {segmenter.num_classes}"
        require("distance_classes", distance_classes, wanted, known)
        self.host = host
        if host is not None:
            _check_host(host, self.added)
            self.terms, self.clip_norm = (*host.terms, *self.added), host.clip_norm
        self.ema_momentum = ema_momentum
        self.teacher_follows = teacher_follows
        self.threshold = threshold
        self.mirror_labels = mirror_labels
        self.confidence = confidence
        self.margins = Margins(*margins) if margins else None
        self.mix = mix
        self.chances = Chances(jitter_probability, jitter_strength, blur_probability)
        self.distance_classes = distance_classes
        self.distance_share = distance_share
        self.mask_ratio, self.mask_block, self.mask_tokens = mask_ratio, mask_block, mask_tokens
        self.detail_weight = detail_weight
        self.source_mean = source_mean
        self.align_corners = align_corners
        self.teacher = EmaTeacher(segmenter, drops=False)
        self.initial = Frozen(segmenter.backbone) if distance_classes else None

    def players(self) -> dict[str, Player]:
        """Those of the host, if there is one."""
        return super().players() if self.host is None else self.host.players()

    def check_views(self, augmentation: object) -> None:
        """As the host checks them."""
        if self.host is not None:
            self.host.check_views(augmentation)

    def prepare(self, passes: Passes) -> None:
        """What the host prepares."""
        if self.host is not None:
            self.host.prepare(passes)

    def stored(self) -> dict[str, Store]:
        """What the host has stored."""
        return {} if self.host is None else self.host.stored()

    def before_step(self, step: Step) -> None:
        """The teacher follows; before the first step it becomes the student's copy."""
        if self.host is not None:
            self.host.before_step(step)
        if self.teacher_follows == "before":
            self._follow(step)

    def losses(self, source: Source, target: Target, step: Step) -> Losses:
        """The source, then the target with pasted classes, then the target with hidden blocks."""
        if self.host is not None:
            yield from self.host.losses(source, target, step)

        # The source, and how far its features are from those of the initial network (DAFormer).
        if self.host is None or self.initial is not None:
            prediction = self.segmenter(source.image)
            terms = self.supervised(prediction, source) if self.host is None else {}
            if self.initial is not None:
                terms["distance"] = self.distance(prediction, source)
            yield Update("segmenter", **terms)

        # The teacher's label of the target, of which one number says how sure it is.
        label, weight = self.pseudo_label(target)

        # Half of the source's classes pasted onto the target; what is pasted weighs 1 (DACS).
        if self.mix is not None:
            image, mixed_label, mixed_weight = self.mixed(source, target, label, weight)
            mixed = self.segmenter(self.varied(image, alike=False))
            yield Update("segmenter", mixed=self.cost(mixed, mixed_label, mixed_weight))

        # Most blocks of the target hidden; the label is that of the whole image (MIC).
        if self.mask_ratio is not None:
            masked = self.masked(target.image)
            yield Update("segmenter", masked=self.cost(masked, label, weight))

    def supervised(self, prediction: Prediction, source: Source) -> dict[str, Tensor]:
        """The terms of the source's labels."""
        terms = {"seg": self.cost(prediction, source.label, over=self.source_mean)}
        if prediction.aux is not None:
            how = {"over": self.source_mean, "align_corners": self.align_corners}
            terms["seg_aux"] = L.segmentation(prediction.aux, source.label, **how)
        return terms

    def distance(self, prediction: Prediction, source: Source) -> Float[Tensor, ""]:
        """Of the last features of a source batch, where it shows one of the classes."""
        return L.feature_distance(
            prediction.features,
            self.initial(self.segmenter.context(source.image))[-1],
            source.label,
            classes=self.distance_classes,
            min_share=self.distance_share,
            num_classes=self.segmenter.num_classes,
        )

    def pseudo_label(self, target: Target) -> tuple[Int[Tensor, "b h w"], Float[Tensor, "b h w"]]:
        """The teacher's classes, and the weight of each pixel: 0 in the margins."""
        probability = self.teacher_probability(target.image)
        if self.mirror_labels:
            mirrored = self.teacher_probability(target.image.flip(-1)).flip(-1)
            probability = (probability + mirrored) / 2
        confidence, label = probability.max(dim=1)
        share = L.confident_share(confidence, self.threshold, over=self.confidence)
        self.seen = {"pseudo/confident": share.mean()}
        weight = share.expand_as(confidence)
        if self.margins is not None:
            inside = [inside_margins(v, self.margins, weight.device) for v in target.view]
            weight = weight * torch.stack(inside)
        return label, weight

    def teacher_probability(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b k h w"]:
        """Of each class at each pixel."""
        logits = L.full_precision(self.teacher(image).main)
        return L.probabilities(upsample(logits, image.shape[-2:], align_corners=self.align_corners))

    def mixed(
        self, source: Source, target: Target, label: Tensor, weight: Tensor
    ) -> tuple[Float[Tensor, "b 3 h w"], Int[Tensor, "b h w"], Float[Tensor, "b h w"]]:
        """Images with pasted classes, their labels and weights; without a mix, the target's own."""
        if self.mix == "none":
            return target.image, label, weight
        paste = self.pasted(source, target)
        return (
            mix(paste, source.image, target.image),
            mix(paste, source.label, label),
            mix(paste, torch.ones_like(weight), weight),
        )

    def pasted(self, source: Source, target: Target) -> Bool[Tensor, "b h w"]:
        """Where an image shows one of the classes that are drawn for it."""
        check_one_size(source.image.shape[-2:], target.image.shape[-2:])
        present = present_values(source.label, batch_wide=self.mix == "batch")
        scores = torch.rand(present.shape, device=present.device)
        return class_mask(source.label, choose_half(present, scores))

    def varied(self, image: Float[Tensor, "b 3 h w"], *, alike: bool) -> Float[Tensor, "b 3 h w"]:
        """The images with other colours, and blurred: both in some steps only."""
        random = Random(int(torch.randint(2**62, ())))
        variation = draw_variation(len(image), self.chances, random, alike=alike)
        return vary(image, variation, self.normalization)

    def masked(self, image: Float[Tensor, "b 3 h w"]) -> Prediction:
        """Of the images varied, with the mean colour in most blocks or with hidden tokens."""
        if self.mask_tokens:
            with self.segmenter.backbone.hiding(self.mask_ratio):
                return self.segmenter(self.varied(image, alike=True))
        size = image.shape[-2:]
        cells = torch.rand(len(image), 1, *block_cells(size, self.mask_block), device=image.device)
        shown = block_mask(cells, size, ratio=self.mask_ratio)
        return self.segmenter(self.varied(image, alike=True) * shown)

    def cost(
        self,
        prediction: Prediction,
        label: Int[Tensor, "b h w"],
        weight: Float[Tensor, "b h w"] | None = None,
        over: str = "all",
    ) -> Float[Tensor, ""]:
        """Weighted cross-entropy of the main head; a share of it is that of the detail (HRDA)."""
        how = {"over": over, "align_corners": self.align_corners}
        loss = L.segmentation(prediction.main, label, weight, **how)
        if prediction.detail is None:
            return loss
        logits, (top, bottom, left, right) = prediction.detail
        label, weight = (
            None if map is None else map[:, top:bottom, left:right] for map in (label, weight)
        )
        detail = L.segmentation(logits, label, weight, **how)
        return (1 - self.detail_weight) * loss + self.detail_weight * detail

    def after_step(self, step: Step) -> None:
        """As DACS's own code does it: the teacher follows the student of this very step."""
        if self.host is not None:
            self.host.after_step(step)
        if self.teacher_follows == "after":
            self._follow(step)

    def monitor(self) -> dict[str, Tensor]:
        """How sure the teacher is of the target; near 0, only what is pasted teaches."""
        return self.seen if self.host is None else self.host.monitor() | self.seen

    def diagnose(self, image: Tensor) -> dict[str, Tensor]:
        """What the host draws."""
        return {} if self.host is None else self.host.diagnose(image)

    def predict(self, image: Tensor, *, aux_weight: float = 0.0) -> Tensor:
        """As the host predicts, if there is one."""
        return (self.host or self.segmenter).predict(image, aux_weight=aux_weight)

    def _follow(self, step: Step) -> None:
        # Batch norm keeps the teacher's own statistics, of the target alone.
        momentum = ema_momentum(step.number, self.ema_momentum)
        self.teacher.follow(self.segmenter, momentum=momentum, buffers="keep")


def _check_host(host: Method, added: Sequence[str]) -> None:
    if not host.players():
        raise ValueError("extra must be null: the method trains nothing")
    shared = ", ".join(sorted({*added} & {*host.terms}))
    if shared:
        raise ValueError(
            f"extra must be null: the method has terms of its own called {shared}; MIC on DAFormer "
            "is method=mic/daformer"
        )
