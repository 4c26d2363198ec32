"""CaCo (Huang et al., CVPR 2022): retraining on dense pseudo labels, "vanilla" as released.

It starts from the first stage's model and looks at the target alone. What every option does is said
in its YAML.
"""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

import uda_hydra.losses as L
from uda_hydra.augment.guided import VariedCrop
from uda_hydra.memory import CategoryQueue, ClassBalance, EmaTeacher
from uda_hydra.methods._labels import check_label_folder, most_probable, target_labels
from uda_hydra.methods.base import (
    Losses,
    Method,
    Passes,
    Update,
    require_choice,
    require_fraction,
    require_positive,
)
from uda_hydra.types import Source, Step, Target, shrink_label


class CaCoRetrain(Method):
    """Class-balanced pseudo labels, and contrast with keys of a teacher that sees plain crops."""

    terms = ("seg", "seg_aux", "contrast")

    def __init__(
        self,
        segmenter: nn.Module,
        *,
        labels: str | None,
        ema_momentum: float,
        queue_length: int,
        key_labels: str,
        temperature: float,
        base_temperature: float,
        max_weight: float,
        rare_share: float,
        target_pass: bool,
    ) -> None:
        super().__init__(segmenter)
        require_fraction(ema_momentum=ema_momentum)
        require_positive(temperature=temperature, base_temperature=base_temperature)
        require_choice("key_labels", key_labels, "plain", "recoloured")
        check_label_folder(labels)
        self.folder = labels
        self.ema_momentum = ema_momentum
        self.key_labels = key_labels
        self.temperatures = {"temperature": temperature, "base_temperature": base_temperature}
        self.target_pass = target_pass
        self.teacher = EmaTeacher(segmenter)
        classes = segmenter.num_classes
        self.balance = ClassBalance(classes, max_weight=max_weight, rare_share=rare_share)
        self.queue = CategoryQueue(classes, queue_length, segmenter.feature_channels, gate="none")

    def check_views(self, augmentation: object) -> None:
        """Each crop comes recoloured and plain; the whole image is for ``target_pass``."""
        fits = isinstance(augmentation, VariedCrop) and augmentation.plain
        if not fits or (self.target_pass and not augmentation.whole):
            raise ValueError("this method needs augmentation=varied_crop_twice")

    def prepare(self, passes: Passes) -> None:
        """Open the labels of an earlier stage, or let the first weights make them."""
        own = partial(most_probable, self.segmenter)
        self.labels = target_labels(passes, self.folder, own)

    def before_step(self, step: Step) -> None:
        """The teacher follows first, and so lags one step behind."""
        self.teacher.follow(self.segmenter, momentum=self.ema_momentum)

    def losses(self, source: Source, target: Target, step: Step) -> Losses:
        """The recoloured crops against their labels and against the keys of the plain ones."""
        label = target.stored["labels"].long()

        # The teacher fills the dictionary with one-hot keys of the plain crops, image by image.
        features = self.teacher(target.plain.image).features
        aligned = self.key_labels == "plain"
        key_label = target.plain.stored["labels"] if aligned else label
        for feature, cells in zip(features, key_label.long(), strict=True):
            self.queue.push(feature, cells)

        prediction = self.segmenter(target.image)
        weight = self.balance.take(label)
        terms = {"seg": L.segmentation(prediction.main, label, weight, over="all")}
        if prediction.aux is not None:
            terms["seg_aux"] = L.segmentation(prediction.aux, label, weight, over="all")
        contrast = L.category_contrast(
            prediction.features,
            shrink_label(label, tuple(prediction.features.shape[-2:])),
            self.queue.keys,
            # All keys are one-hot and so equally reliable.
            self.queue.filled.to(prediction.features.dtype),
            **self.temperatures,
        )
        yield Update("segmenter", **terms, contrast=contrast)
        self.seen = L.label_shares(label, self.segmenter.num_classes)

        # The last look of a step, and the largest share in the running statistics.
        if self.target_pass:
            with torch.no_grad():
                self.segmenter(random_part(target.whole, target.image.shape[-2:]))

    def monitor(self) -> dict[str, Tensor]:
        """Fill of the dictionary, and shares of the batch's pixels that carry a label."""
        return {"queue/fill": self.queue.fill, **self.seen}


def random_part(
    images: Float[Tensor, "b 3 h w"], size: tuple[int, int]
) -> Float[Tensor, "b 3 h2 w2"]:
    """A part of ``size`` (height, width) of each image at a random place; what is smaller stays."""
    parts = []
    for image in images:
        top, left = (
            int(torch.randint(max(0, have - want) + 1, ()))
            for have, want in zip(image.shape[-2:], size, strict=True)
        )
        parts.append(image[:, top : top + size[0], left : left + size[1]])
    return torch.stack(parts)
