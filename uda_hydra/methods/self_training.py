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
from uda_hydra.errors import UserError
from uda_hydra.memory import EmaTeacher, Frozen, ema_momentum
from uda_hydra.methods.base import (
    Losses,
    Method,
    Update,
    require,
    require_choice,
    require_fraction,
)
from uda_hydra.types import Prediction, Source, Step, Target, upsample


class SelfTraining(Method):
    """A teacher labels the target; the student learns it under pasted classes and hidden blocks."""

    terms = ("seg", "seg_aux", "distance", "mixed", "masked")

    def __init__(
        self,
        segmenter: nn.Module,
        *,
        ema_momentum: float,
        teacher_follows: str,
        threshold: float,
        confidence: str,
        margins: Sequence[float] | None,
        mix: str,
        jitter_probability: float,
        jitter_strength: float,
        blur_probability: float,
        distance_classes: Sequence[int] | None,
        distance_share: float,
        mask_ratio: float | None,
        mask_block: int,
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
        require_choice("mix", mix, "image", "batch", "none")
        require_choice("source_mean", source_mean, "all", "valid")
        require("mask_block", mask_block, "positive", mask_block > 0)
        require("mask_ratio", mask_ratio, "null or in [0, 1]", 0 <= (mask_ratio or 0) <= 1)
        fits = margins is None or (len(margins) == 4 and min(margins) >= 0 and max(margins) < 1)
        require("margins", margins, "null or shares [top, bottom, left, right]", fits)
        known = all(0 <= one < segmenter.num_classes for one in distance_classes or ())
        wanted = f"null or class numbers below {segmenter.num_classes}"
        require("distance_classes", distance_classes, wanted, known)
        self.ema_momentum = ema_momentum
        self.teacher_follows = teacher_follows
        self.threshold = threshold
        self.confidence = confidence
        self.margins = Margins(*margins) if margins else None
        self.mix = mix
        self.chances = Chances(jitter_probability, jitter_strength, blur_probability)
        self.distance_classes = distance_classes
        self.distance_share = distance_share
        self.mask_ratio, self.mask_block = mask_ratio, mask_block
        self.detail_weight = detail_weight
        self.source_mean = source_mean
        self.align_corners = align_corners
        self.teacher = EmaTeacher(segmenter, drops=False)
        self.initial = Frozen(segmenter.backbone) if distance_classes else None
        self.register_buffer("confident", torch.zeros(()))

    def before_step(self, step: Step) -> None:
        """The teacher follows; before the first step it becomes the student's copy."""
        if self.teacher_follows == "before":
            self._follow(step)

    def losses(self, source: Source, target: Target, step: Step) -> Losses:
        """The source, then the target with pasted classes, then the target with hidden blocks."""
        # The source, and how far its features are from those of the initial network (DAFormer).
        prediction = self.segmenter(source.image)
        terms = {"seg": self.cost(prediction, source.label, over=self.source_mean)}
        if prediction.aux is not None:
            how = {"over": self.source_mean, "align_corners": self.align_corners}
            terms["seg_aux"] = L.segmentation(prediction.aux, source.label, **how)
        if self.initial is not None:
            terms["distance"] = self.distance(prediction, source)
        yield Update("segmenter", **terms)

        # The teacher's label of the target, of which one number says how sure it is.
        label, weight = self.pseudo_label(target)

        # Half of the source's classes pasted onto the target; what is pasted weighs 1 (DACS).
        image, mixed_label, mixed_weight = target.image, label, weight
        if self.mix != "none":
            paste = self.pasted(source, target)
            image = mix(paste, source.image, target.image)
            mixed_label = mix(paste, source.label, label)
            mixed_weight = mix(paste, torch.ones_like(weight), weight)
        mixed = self.segmenter(self.varied(image, alike=False))
        yield Update("segmenter", mixed=self.cost(mixed, mixed_label, mixed_weight))

        # Most blocks of the target hidden; the label is that of the whole image (MIC).
        if self.mask_ratio is not None:
            masked = self.segmenter(self.masked(target.image))
            yield Update("segmenter", masked=self.cost(masked, label, weight))

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
        size = target.image.shape[-2:]
        logits = L.full_precision(self.teacher(target.image).main)
        logits = upsample(logits, size, align_corners=self.align_corners)
        confidence, label = L.probabilities(logits).max(dim=1)
        share = L.confident_share(confidence, self.threshold, over=self.confidence)
        self.confident.copy_(share.mean())
        weight = share.expand_as(confidence)
        if self.margins is not None:
            inside = [inside_margins(v, self.margins, weight.device) for v in target.view]
            weight = weight * torch.stack(inside)
        return label, weight

    def pasted(self, source: Source, target: Target) -> Bool[Tensor, "b h w"]:
        """Where an image shows one of the classes that are drawn for it."""
        if source.image.shape != target.image.shape:
            raise UserError(
                "method.mix needs source and target of one size: cut both to "
                "augmentation.crop, with augmentation=ratio_crop, or choose method.mix=none"
            )
        present = present_values(source.label, batch_wide=self.mix == "batch")
        scores = torch.rand(present.shape, device=present.device)
        return class_mask(source.label, choose_half(present, scores))

    def varied(self, image: Float[Tensor, "b 3 h w"], *, alike: bool) -> Float[Tensor, "b 3 h w"]:
        """The images with other colours, and blurred: both in some steps only."""
        random = Random(int(torch.randint(2**62, ())))
        variation = draw_variation(len(image), self.chances, random, alike=alike)
        return vary(image, variation, self.normalization)

    def masked(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """The images varied, with the mean colour in most blocks."""
        size = image.shape[-2:]
        cells = torch.rand(len(image), 1, *block_cells(size, self.mask_block), device=image.device)
        return self.varied(image, alike=True) * block_mask(cells, size, ratio=self.mask_ratio)

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
        if self.teacher_follows == "after":
            self._follow(step)

    def monitor(self) -> dict[str, Tensor]:
        """How sure the teacher is of the target; near 0, only what is pasted teaches."""
        return {"pseudo/confident": self.confident}

    def _follow(self, step: Step) -> None:
        # Batch norm keeps the teacher's own statistics, of the target alone.
        momentum = ema_momentum(step.number, self.ema_momentum)
        self.teacher.follow(self.segmenter, momentum=momentum, buffers="keep")
