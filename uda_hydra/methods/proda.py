"""ProDA (Zhang et al., CVPR 2021), stage 1: soft labels rectified by prototypes, as released.

It starts from the warm-up's model. What every option does is said in its YAML.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.func import functional_call

import uda_hydra.losses as L
from uda_hydra.augment.released import shifted_too_far
from uda_hydra.augment.training import WeakStrong
from uda_hydra.augment.warp import warp_batch
from uda_hydra.errors import UserError
from uda_hydra.memory import EmaTeacher, MovingPrototypes, class_means, running_mean
from uda_hydra.memory.moving_prototypes import ClassMeans
from uda_hydra.methods._labels import STRIDE
from uda_hydra.methods.base import (
    Item,
    Losses,
    Method,
    Passes,
    Update,
    require,
    require_choice,
    require_fraction,
    require_positive,
)
from uda_hydra.models.checkpoints.buffers import check_files
from uda_hydra.types import Prediction, Source, Step, Target, upsample


class ProDA(Method):
    """Soft labels, weighed in each step by how near the features are to the prototypes."""

    terms = ("seg", "seg_aux", "ce", "rce", "reg", "structure")

    def __init__(
        self,
        segmenter: nn.Module,
        *,
        rectify: bool,
        min_confidence: float,
        hard_threshold: float | None,
        structure: bool,
        released_shift: bool,
        regularizer: str,
        prototypes: str | None,
        prototype_temperature: float,
        prototype_momentum: float,
        prototype_passes: int,
        count_cap: int,
        min_pixels: int,
        ema_momentum: float,
        teacher_eval: bool,
        teacher_dropout: bool,
    ) -> None:
        super().__init__(segmenter)
        require_fraction(ema_momentum=ema_momentum, prototype_momentum=prototype_momentum)
        require_fraction(min_confidence=min_confidence)
        require_positive(prototype_temperature=prototype_temperature)
        counts = {"prototype_passes": prototype_passes, "count_cap": count_cap}
        for key, value in (counts | {"min_pixels": min_pixels}).items():
            require(key, value, "1 or more", value >= 1)
        require_choice("regularizer", regularizer, *L.REGULARIZERS)
        fits = hard_threshold is None or 0 <= hard_threshold <= 1
        require("hard_threshold", hard_threshold, "null or in [0, 1]", fits)
        check_files(prototypes, ["prototypes"], key="method.prototypes")
        self.rectify = rectify
        self.min_confidence = min_confidence
        self.hard_threshold = hard_threshold
        self.structure = structure
        self.released_shift = released_shift
        self.regularizer = regularizer
        self.prototype_file = prototypes
        self.prototype_temperature = prototype_temperature
        self.prototype_momentum = prototype_momentum
        self.averaging = {"passes": prototype_passes, "cap": count_cap}
        self.min_pixels = min_pixels
        self.ema_momentum = ema_momentum
        self.teacher_eval = teacher_eval
        self.teacher = EmaTeacher(segmenter, drops=teacher_dropout)
        self.prototypes = MovingPrototypes(segmenter.num_classes)
        self.first_weights: dict[str, Tensor] = {}
        """The segmenter as ``prepare`` found it, on the host; only ``diagnose`` reads it."""

    def check_views(self, augmentation: object) -> None:
        """The strong view is one of the weak one; the teacher sees whole images."""
        if not (isinstance(augmentation, WeakStrong) and augmentation.whole):
            raise ValueError("this method needs augmentation=weak_strong augmentation.whole=true")

    def prepare(self, passes: Passes) -> None:
        """Labels of the target and class means of its images from one look, then prototypes."""
        labels = {"encoding": "float16", "kind": "soft", "stride": STRIDE}
        if not self.rectify:
            labels = {"encoding": "uint8", "kind": "label", "stride": STRIDE}
        made = passes.run_all(
            {"labels": labels, "class_means": {}},
            over="target",
            compute=self.described,
            depends_on={
                "min_pixels": self.min_pixels,
                "hard": None if self.rectify else {"threshold": self.hard_threshold},
            },
        )
        self.labels = made["labels"]
        if self.prototype_file is None:
            vectors = passes.summary(
                "prototypes", self.averaged, of=made["class_means"], depends_on=self.averaging
            )
        else:
            vectors = read_prototypes(self.prototype_file)
        self.prototypes.begin(vectors)
        self.first_weights = {
            n: t.to("cpu", copy=True) for n, t in self.segmenter.state_dict().items()
        }

    def described(self, target: Target) -> dict[str, Item]:
        """The label of each image, and the mean features of the classes that it shows."""
        prediction = self.segmenter(target.image)
        probability = L.probabilities(prediction.main)
        means = class_means(
            enlarged(feature_of(prediction), tuple(probability.shape[-2:])),
            probability.argmax(dim=1),
            num_classes=probability.shape[1],
            min_pixels=self.min_pixels,
        )
        label = probability if self.rectify else self.hard_label(target, prediction)
        return {"labels": label, "class_means": means._asdict()}

    def hard_label(self, target: Target, prediction: Prediction) -> Tensor:
        """From the image and its mirror image, at its size."""
        mirrored = self.segmenter(target.image.flip(3)).main
        size = tuple(target.image.shape[-2:])
        probability = L.two_look_probability(prediction.main, mirrored, size)
        return L.half_precision_label(probability, self.hard_threshold)

    def averaged(self, items: Iterator[Item]) -> Float[Tensor, "k d"]:
        """The prototypes to begin with: all images, one after the other, several times."""
        images = [(item["vectors"], item["shown"]) for item in items]
        start = torch.zeros_like(images[0][0])
        order = chain.from_iterable(repeat(images, self.averaging["passes"]))
        return running_mean(order, start, start[:, 0], cap=self.averaging["cap"])[0]

    def before_step(self, step: Step) -> None:
        """The teacher normalises with its batch, all of it target, or with running statistics."""
        if self.teacher_eval:
            self.teacher.eval()

    def losses(self, source: Source, target: Target, step: Step) -> Losses:
        """The source, then the weak view by rectified labels, then the strong one by structure."""
        yield Update("segmenter", **L.supervised(self.segmenter(source.image), source.label))

        # The teacher sees whole images; what it finds is cut out as the weak views are.
        distance, means = self.teacher_view(target)

        # The student's weak view against the rectified labels.
        label = self.label(target, distance)
        weak = enlarged(self.segmenter(target.image).main, quarter(target.image))
        yield Update(
            "segmenter",
            ce=L.segmentation(weak, label),
            rce=L.reverse_cross_entropy(weak, label),
            reg=L.REGULARIZERS[self.regularizer](weak),
        )

        # The strong view is assigned to the prototypes as the teacher assigns the weak one.
        if self.structure:
            views = target.strong_view
            views = shifted_too_far(views, stride=STRIDE) if self.released_shift else views
            seen = warp_batch(distance, views, kind="feature", stride=STRIDE, fill=-1)
            strong = feature_of(self.segmenter(target.strong))
            loss = L.structure(
                L.prototype_distance(
                    enlarged(strong, quarter(target.strong)), self.prototypes.vectors
                ),
                seen,
                seen[:, 0] >= 0,
                temperature=self.prototype_temperature,
            )
            yield Update("segmenter", structure=loss)

        self.prototypes.move(means, momentum=self.prototype_momentum)

    def teacher_view(self, target: Target) -> tuple[Float[Tensor, "b k h w"], ClassMeans]:
        """The teacher's distances to the prototypes in the weak views, and its class means."""
        whole, size = self.teacher(target.whole), quarter(target.whole)
        feature = enlarged(feature_of(whole), size)
        means = class_means(
            feature,
            enlarged(whole.main, size).argmax(dim=1),
            num_classes=self.segmenter.num_classes,
            min_pixels=self.min_pixels,
        )
        return self.distance_in_views(feature, target), means

    def distance_in_views(
        self, feature: Float[Tensor, "b d h0 w0"], target: Target
    ) -> Float[Tensor, "b k h w"]:
        """Distances to the prototypes of whole images' features, in the weak views."""
        with torch.autocast(feature.device.type, enabled=False):
            seen = warp_batch(feature, target.view, kind="feature", stride=STRIDE)
            return L.prototype_distance(seen, self.prototypes.vectors)

    def label(self, target: Target, distance: Float[Tensor, "b k h w"]) -> Int64[Tensor, "b h w"]:
        """The labels of the weak view; the share of each class is kept for the log."""
        stored = target.stored["labels"]
        label = self.rectified(stored, distance) if self.rectify else stored.long()
        self.seen = L.label_shares(label, self.segmenter.num_classes)
        return label

    def rectified(
        self, soft_label: Float[Tensor, "b k h w"], distance: Float[Tensor, "b k h w"]
    ) -> Int64[Tensor, "b h w"]:
        """The label that a soft one becomes at these distances to the prototypes."""
        product = L.rectified(soft_label, distance, temperature=self.prototype_temperature)
        return L.rectified_label(product, min_confidence=self.min_confidence)

    def after_step(self, step: Step) -> None:
        """The teacher follows the student."""
        self.teacher.follow(self.segmenter, momentum=self.ema_momentum)

    def monitor(self) -> dict[str, Tensor]:
        """Shares of the batch's pixels that carry a label, and the way of the prototypes."""
        return {"prototypes/drift": self.prototypes.drift, **self.seen}

    def diagnose(self, image: Tensor) -> dict[str, Tensor]:
        """Labels of the first model, and what is made of them now; the teacher is in eval mode."""
        if not (self.rectify and self.first_weights):
            return {}
        first = {name: tensor.to(image.device) for name, tensor in self.first_weights.items()}
        size = quarter(image)
        soft = enlarged(L.probabilities(functional_call(self.segmenter, first, image).main), size)
        feature = enlarged(feature_of(self.teacher(image)), size)
        distance = L.prototype_distance(feature, self.prototypes.vectors)
        return {"soft label": soft.argmax(dim=1), "rectified": self.rectified(soft, distance)}


def enlarged(map: Float[Tensor, "b c h w"], size: tuple[int, int]) -> Float[Tensor, "b c h2 w2"]:
    """The map at (height, width), in full precision."""
    return upsample(L.full_precision(map), size)


def feature_of(prediction: Prediction) -> Float[Tensor, "b d _ _"]:
    """What the main head classifies; where it has no such map, the features of the backbone."""
    feature = prediction.head_feature
    return prediction.features if feature is None else feature


def quarter(image: Float[Tensor, "b 3 h w"]) -> tuple[int, int]:
    """Height and width of the maps that belong to an image."""
    return image.shape[-2] // STRIDE, image.shape[-1] // STRIDE


def read_prototypes(file: str) -> Float[Tensor, "k d"]:
    """The release's file beside its warm-up model: one tensor with a row for each class."""
    try:
        found = torch.load(Path(file), map_location="cpu", weights_only=True)
    except Exception as error:
        # What torch raises depends on where the damage is.
        raise UserError(f"method.prototypes={file}: cannot be read, {error}") from error
    if not (isinstance(found, Tensor) and found.dim() == 2 and found.is_floating_point()):
        raise UserError(f"method.prototypes={file}: is not one tensor with a row for each class")
    return found
