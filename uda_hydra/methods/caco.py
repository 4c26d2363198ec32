"""CaCo: category contrast (Huang et al., CVPR 2022), first stage, as released.

It starts from a source-only model. What every option does is said in its YAML.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

import uda_hydra.losses as L
from uda_hydra.data.pair import Pair
from uda_hydra.memory import CategoryQueue, EmaTeacher
from uda_hydra.methods.base import Losses, Method, Update, require, require_choice
from uda_hydra.types import IGNORE, Prediction, Source, Target, upsample


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
        require("key_threshold", key_threshold, "in [0, 1]", 0 <= key_threshold <= 1)
        require_choice("source_keys", source_keys, "student", "teacher")
        require("reliability_clamp", reliability_clamp, "in [0, 1)", 0 <= reliability_clamp < 1)
        require("temperature", temperature, "positive", temperature > 0)
        require("base_temperature", base_temperature, "positive", base_temperature > 0)
        require_choice("contrast_mean", contrast_mean, "keys", "positives")
        require_choice("gate", gate, "full", "none")
        ordered = len(scale_range) == 2 and 0 < scale_range[0] < scale_range[1]
        require("scale_range", scale_range, "two percentages [low, high), 0 < low < high", ordered)
        require("clip_norm", clip_norm, "null or positive", clip_norm is None or clip_norm > 0)

        self.key_threshold = key_threshold
        self.source_keys = source_keys
        self.reliability_clamp = reliability_clamp
        self.temperature = temperature
        self.base_temperature = base_temperature
        self.contrast_mean = contrast_mean
        self.gate = gate
        self.scale_range = tuple(scale_range)
        self.clip_norm = clip_norm
        self.gate_classes = gate_classes
        self.teacher = EmaTeacher(segmenter, momentum=ema_momentum)
        self.queue = CategoryQueue(
            segmenter.num_classes, queue_length, segmenter.feature_channels, counted=gate_classes
        )

    def prepare(self, data: Pair, folder: Path) -> None:
        """The gate waits for no class that the source never shows."""
        if self.gate_classes is None:
            self.queue.count(data.source_classes)

    def before_step(self) -> None:
        """The teacher follows first, and so lags one step behind: a no-op at the very first."""
        self.teacher.follow(self.segmenter)

    def losses(self, source: Source, target: Target, progress: float) -> Losses:
        """First the source, then a rescaled view of the target against teacher and dictionary."""
        # Supervised segmentation of the source.
        seen = self.segmenter(source.image)
        yield Update("segmenter", **L.supervised(seen, source.label))

        # The teacher labels the target; both domains fill the dictionary, the source first.
        reference = self.teacher(target.image)
        probability = L.probabilities(reference.main)
        label = probability.argmax(dim=1)
        confident = confident_label(probability, self.key_threshold)
        keys = seen if self.source_keys == "student" else self.teacher(source.image)
        for i in range(len(label)):
            self.queue.push(keys.features[i], source.label[i])
            self.queue.push(reference.features[i], confident[i], probability[i])

        # A rescaled view agrees with the teacher, cell by cell and by category.
        second = self.segmenter(self.rescaled(target.image))
        terms = {"consistency": L.consistency(second.main, reference.main)}
        if second.aux is not None:
            terms["consistency_aux"] = L.consistency(second.aux, reference.aux)
        terms["contrast"] = self.contrast(second, label)
        yield Update("segmenter", **terms)

    def contrast(self, view: Prediction, label: Integer[Tensor, "b h w"]) -> Float[Tensor, ""]:
        """Contrast of the view's features, on the label's grid; 0 while the gate is closed."""
        loss = L.category_contrast(
            upsample(view.features, label.shape[-2:]),
            label,
            self.queue.keys,
            L.reliability(self.queue.probability, self.reliability_clamp) * self.queue.filled,
            temperature=self.temperature,
            base_temperature=self.base_temperature,
            mean=self.contrast_mean,
        )
        return loss if self.gate == "none" else loss.where(self.queue.full, 0.0)

    def rescaled(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h2 w2"]:
        """The images at a size drawn anew for every step."""
        percent = int(torch.randint(*self.scale_range, ()))
        return upsample(image, scaled_size(image.shape[-2:], percent))

    def monitor(self) -> dict[str, Tensor]:
        """Fill of the dictionary; the gate opens at the step where ``queue/fill`` reaches 1."""
        return {"queue/fill": self.queue.fill, "queue/complete": self.queue.complete}


def confident_label(
    probability: Float[Tensor, "b c h w"], threshold: float
) -> Integer[Tensor, "b h w"]:
    """The most probable class where it reaches the threshold, elsewhere the ignored label."""
    confidence, label = probability.max(dim=1)
    return label.where(confidence >= threshold, IGNORE)


def scaled_size(size: Sequence[int], percent: int) -> tuple[int, int]:
    """Height and width at ``percent``, each rounded to the nearest multiple of 8, half to even."""
    height, width = (round(side * (percent / 100) / 8) * 8 for side in size)
    return height, width
