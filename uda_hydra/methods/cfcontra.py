"""CFContra: class-wise contrast from coarse to fine (arXiv 2103.12371), on top of MinEnt.

``Centres`` measures the centre of each class in both domains; ``CFContra`` starts from them. The
options are explained in their YAML files.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

import uda_hydra.losses as L
from uda_hydra.memory import class_centres
from uda_hydra.methods._class_centres import Extraction, embedding, memory_for
from uda_hydra.methods.base import (
    Losses,
    Method,
    Passes,
    Preparation,
    Update,
    require,
    require_choice,
    require_fraction,
    require_positive,
)
from uda_hydra.models.checkpoints.buffers import check_files, read_buffers
from uda_hydra.types import SUFFIX, Prediction, Source, Step, Target, shrink_label


class Centres(Preparation):
    """The centre of each class in both domains; nothing is trained."""

    def __init__(
        self, segmenter: nn.Module, *, source_images: int, target_images: int, margin: float
    ) -> None:
        super().__init__(segmenter)
        self.extraction = Extraction(source_images, target_images, margin)
        self.source_memory, self.target_memory = memory_for(segmenter), memory_for(segmenter)

    def prepare(self, passes: Passes) -> None:
        """One pass over each domain."""
        self.extraction.run(self.segmenter, self.source_memory, self.target_memory, passes)


class CFContra(Method):
    """MinEnt, and contrast of both domains' pixels with the class centres of both."""

    terms = (
        "seg", "seg_aux", "ent", "ent_aux",
        "contrast_s", "contrast_t", "contrast_s2t", "contrast_t2s",
    )  # fmt: skip

    def __init__(
        self,
        segmenter: nn.Module,
        *,
        centres: str | Sequence[str] | None,
        source_images: int,
        target_images: int,
        temperature: float,
        memory_momentum: float,
        cross_update: bool,
        pseudo_label: str,
        reject: bool,
        margin: float,
        margin_schedule: str,
        margin_power: float,
        margin_horizon: int,
        norm_euclid: bool,
        stable: bool,
        grad_memory: str,
    ) -> None:
        super().__init__(segmenter)
        require_positive(temperature=temperature)
        require_fraction(memory_momentum=memory_momentum)
        require_choice("pseudo_label", pseudo_label, "centre", "argmax")
        require_choice("margin_schedule", margin_schedule, "constant", "poly")
        require("margin_power", margin_power, "0 or more", margin_power >= 0)
        require("margin_horizon", margin_horizon, "1 or more", margin_horizon >= 1)
        require_choice("grad_memory", grad_memory, "forward", "backward")
        check_files(centres, ("source", "target"), key="method.centres")
        self.centres = centres
        self.extraction = Extraction(source_images, target_images, margin)
        self.temperature = temperature
        self.memory_momentum = memory_momentum
        self.cross_update = cross_update
        self.pseudo_label = pseudo_label
        self.reject = reject
        self.margin = margin
        power = 0.0 if margin_schedule == "constant" else margin_power
        self.schedule = {"power": power, "horizon": margin_horizon}
        self.norm_euclid = norm_euclid
        self.stable = stable
        self.grad_memory = grad_memory
        self.source_memory, self.target_memory = memory_for(segmenter), memory_for(segmenter)

    def prepare(self, passes: Passes) -> None:
        """Both memories start from the centres of a file, or from some measured here."""
        if self.centres is None:
            self.extraction.run(self.segmenter, self.source_memory, self.target_memory, passes)
            return
        memories = {"source_memory": self.source_memory, "target_memory": self.target_memory}
        read_buffers(memories, self.centres, key="method.centres")

    def losses(self, source: Source, target: Target, step: Step) -> Losses:
        """Supervised source, entropy of the target, and four contrasts.

        The memories change after both domains have gone backward. So the graph of the source is
        free before the target is forwarded, except with the gradient of the release.
        """
        prediction = self.segmenter(source.image)
        terms = L.supervised(prediction, source.label)
        features = embedding(prediction)
        label = shrink_label(source.label, features.shape[-2:])
        source_centres = self.class_centres(features, label)
        similarity = L.similarity(features, self.centres_of_both())
        if self.grad_memory == "forward":
            yield Update("segmenter", **terms, **self.contrast("s", similarity.cosine, label))
            terms = {}

        prediction = self.segmenter(target.image)
        for head, logits in L.logits(prediction, target.image.shape[-2:]).items():
            terms[f"ent{SUFFIX[head]}"] = L.entropy(L.probabilities(logits), hardest=1.0)
        target_features = embedding(prediction)
        target_similarity = L.similarity(target_features, self.centres_of_both())
        target_label = self.label(prediction, target_similarity, target.image.shape[-2:], step)
        target_centres = self.class_centres(target_features, target_label)
        cosine = target_similarity.cosine
        if self.grad_memory == "backward":
            # In the release, the gradient of each domain's contrast with its own memory is that of
            # the memory as the other domain's centres have moved it already.
            moved_source = self.source_memory.updated(target_centres, self.memory_momentum)
            moved_target = self.target_memory.updated(source_centres, self.memory_momentum)
            moved = torch.cat([moved_source, self.target_memory.centres])
            own = with_gradient_of(similarity.cosine, L.similarity(features, moved).cosine)
            terms |= self.contrast("s", own, label)
            moved = torch.cat([self.source_memory.centres, moved_target])
            cosine = with_gradient_of(cosine, L.similarity(target_features, moved).cosine)
        yield Update("segmenter", **terms, **self.contrast("t", cosine, target_label))

        self.update_memories(source_centres, target_centres)
        self.seen |= L.label_shares(target_label, self.segmenter.num_classes)

    def centres_of_both(self) -> Float[Tensor, "c2 d"]:
        """Those of the source, then those of the target."""
        return torch.cat([self.source_memory.centres, self.target_memory.centres])

    def class_centres(
        self, features: Float[Tensor, "b d h w"], label: Integer[Tensor, "b h w"]
    ) -> Float[Tensor, "c d"]:
        """The centres of the batch."""
        return class_centres(features, label, self.segmenter.num_classes)

    def contrast(
        self, domain: str, cosine: Float[Tensor, "b c2 h w"], label: Integer[Tensor, "b h w"]
    ) -> dict[str, Float[Tensor, ""]]:
        """Contrast of one domain's pixels with the source's memory, and with the target's."""
        names = {"s": ("contrast_s", "contrast_s2t"), "t": ("contrast_t2s", "contrast_t")}[domain]
        terms = {
            name: L.centre_contrast(to_memory, label, self.temperature, stable=self.stable)
            for name, to_memory in zip(names, cosine.chunk(2, dim=1), strict=True)
        }
        self.seen |= L.from_chance(terms, self.segmenter.num_classes)
        return terms

    def label(
        self, prediction: Prediction, similarity: L.Similarity, size: Sequence[int], step: Step
    ) -> Integer[Tensor, "b h w"]:
        """Pseudo labels of the target, from the source's centres or from the main head."""
        features, centres = embedding(prediction).detach(), self.source_memory.centres
        if self.pseudo_label == "argmax":
            return L.network_label(prediction.main, size, features.shape[-2:])
        if self.norm_euclid:
            similarity = L.similarity(L.per_channel(features), centres)
        else:
            similarity = similarity._replace(cosine=similarity.cosine[:, : len(centres)])
        margin = margin_at(step.number, base=self.margin, **self.schedule)
        return L.nearest_centre(similarity, centres, margin if self.reject else None)

    def update_memories(
        self, source_centres: Float[Tensor, "c d"], target_centres: Float[Tensor, "c d"]
    ) -> None:
        """Each memory moves to the centres of the other domain first, and then to its own."""
        source, target, momentum = self.source_memory, self.target_memory, self.memory_momentum
        if self.cross_update:
            target.update(source_centres, momentum)
            source.update(target_centres, momentum)
        target.update(target_centres, momentum)
        source.update(source_centres, momentum)


def with_gradient_of(value: Tensor, other: Tensor) -> Tensor:
    """The value of one tensor with the gradient of another."""
    return other + (value - other).detach()


def margin_at(step: int, *, base: float, power: float, horizon: int) -> float:
    """base (1 - step / horizon)^power, 0 from the horizon on; constant if ``power`` is 0."""
    return base * max(0.0, 1 - step / horizon) ** power if power else base
