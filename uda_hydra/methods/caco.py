"""CaCo: category contrast (Huang et al., CVPR 2022), first stage, as released.

It starts from a source-only model. What every option does is said in its YAML.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

import uda_hydra.losses as L
from uda_hydra.memory import CategoryQueue, EmaTeacher
from uda_hydra.methods.base import (
    Losses,
    Method,
    Passes,
    Update,
    require,
    require_choice,
    require_fraction,
    require_positive,
)
from uda_hydra.types import Prediction, Source, Step, Target, upsample

SHOWN = 64
"""Pixels of a label file from which on it shows a class: those of a feature cell at stride 8."""


class CaCo(Method):
    """Draws each target cell towards the keys of its own category, from either domain."""

    terms = ("seg", "seg_aux", "consistency", "consistency_aux", "contrast")

    def __init__(
        self,
        segmenter: nn.Module,
        *,
        ema_momentum: float,
        queue_length: int,
        key_threshold: float,
        source_keys: str,
        reliability_clamp: float,
        temperature: float,
        base_temperature: float,
        contrast_mean: str,
        gate: str,
        gate_classes: Sequence[int] | None,
        scale_range: Sequence[int],
        clip_norm: float | None,
    ) -> None:
        super().__init__(segmenter)
        require_fraction(ema_momentum=ema_momentum, key_threshold=key_threshold)
        require_positive(temperature=temperature, base_temperature=base_temperature)
        require_positive(clip_norm=clip_norm)
        require_choice("source_keys", source_keys, "student", "teacher")
        require_choice("contrast_mean", contrast_mean, "keys", "positives")
        require("reliability_clamp", reliability_clamp, "in [0, 1)", 0 <= reliability_clamp < 1)
        ordered = len(scale_range) == 2 and 0 < scale_range[0] < scale_range[1]
        require("scale_range", scale_range, "two percentages [low, high), 0 < low < high", ordered)
        self.ema_momentum = ema_momentum
        self.key_threshold = key_threshold
        self.source_keys = source_keys
        self.reliability_clamp = reliability_clamp
        self.temperatures = {"temperature": temperature, "base_temperature": base_temperature}
        self.contrast_mean = contrast_mean
        self.scale_range = tuple(scale_range)
        self.clip_norm = clip_norm
        self.gate_classes = gate_classes
        self.teacher = EmaTeacher(segmenter)
        classes, channels = segmenter.num_classes, segmenter.feature_channels
        self.queue = CategoryQueue(classes, queue_length, channels, gate=gate, classes=gate_classes)

    def prepare(self, passes: Passes) -> None:
        """The gate waits for no class that the source shows too seldom to fill its queue.

        An image counts where the class covers ``SHOWN`` pixels, though resizing and crops may hide
        it. If no class is frequent enough, the gate waits for those that occur, and stays closed.
        """
        if self.gate_classes is None:
            images = passes.source_statistics().holding(SHOWN).mean(axis=0)
            often = images * passes.shown >= self.queue.length
            waited_for = often if often.any() else images > 0
            self.queue.restrict_to(waited_for.nonzero()[0].tolist())

    def before_step(self, step: Step) -> None:
        """The teacher follows first, and so lags one step behind: a no-op at the very first."""
        self.teacher.follow(self.segmenter, momentum=self.ema_momentum)

    def losses(self, source: Source, target: Target, step: Step) -> Losses:
        """First the source, then a rescaled view of the target against teacher and dictionary.

        In the release's order, which decides what the dictionary holds when the contrast reads it
        and what the running statistics see last: the view.
        """
        # Supervised segmentation of the source.
        source_prediction = self.segmenter(source.image)
        yield Update("segmenter", **L.supervised(source_prediction, source.label))

        # The teacher labels the target; both domains fill the dictionary, image by image and the
        # source first. Only keys have to be confident: the contrast below takes every cell's label.
        reference = self.teacher(target.image)
        probability = L.probabilities(reference.main)
        label = probability.argmax(dim=1)
        confident = L.confident_label(probability, self.key_threshold, inclusive=True)
        student = self.source_keys == "student"
        keys = (source_prediction if student else self.teacher(source.image)).features
        for i in range(len(label)):
            self.queue.push(keys[i], source.label[i])
            self.queue.push(reference.features[i], confident[i], probability[i])

        # A rescaled view agrees with the teacher, cell by cell and by category.
        view = self.segmenter(self.rescaled(target.image))
        terms = {"consistency": L.consistency(view.main, reference.main)}
        if view.aux is not None:
            terms["consistency_aux"] = L.consistency(view.aux, reference.aux)
        yield Update("segmenter", **terms, contrast=self.contrast(view, label))

    def contrast(self, view: Prediction, label: Integer[Tensor, "b h w"]) -> Float[Tensor, ""]:
        """Contrast of the view's features, on the label's grid; 0 while the gate is closed."""
        loss = L.category_contrast(
            upsample(view.features, label.shape[-2:]),
            label,
            self.queue.keys,
            L.reliability(self.queue.probability, self.reliability_clamp) * self.queue.filled,
            **self.temperatures,
            mean=self.contrast_mean,
        )
        return loss.where(self.queue.open, 0.0)

    def rescaled(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h2 w2"]:
        """The images at a size drawn for this step."""
        percent = int(torch.randint(*self.scale_range, ()))
        return upsample(image, scaled_size(image.shape[-2:], percent))

    def monitor(self) -> dict[str, Tensor]:
        """Fill of the dictionary; the gate opens at the step where ``queue/fill`` reaches 1."""
        return {"queue/fill": self.queue.fill, "queue/complete": self.queue.complete}


def scaled_size(size: Sequence[int], percent: int) -> tuple[int, int]:
    """Height and width at ``percent``, each rounded to the nearest multiple of 8, half to even."""
    height, width = (round(side * (percent / 100) / 8) * 8 for side in size)
    return height, width
