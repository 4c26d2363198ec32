"""CFContra: from coarse to fine with class-wise contrast (arXiv 2103.12371), on top of MinEnt.

``Centres`` measures the centre of each class in either domain, and ``CFContra`` starts from them.
What every option does is said in the YAML.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

import uda_hydra.losses as L
from uda_hydra.memory import (
    ClassMemory,
    class_centres,
    fill_missing,
    image_means,
    whole_centres,
)
from uda_hydra.methods.base import (
    Losses,
    Method,
    Passes,
    Player,
    Update,
    require,
    require_choice,
    require_fraction,
    require_positive,
)
from uda_hydra.models.checkpoints.centres import check_centres_file, read_centres
from uda_hydra.types import SUFFIX, Prediction, Source, Step, Target, shrink_label, upsample


class Centres(Method):
    """The centre of each class over images of either domain; nothing is trained."""

    terms = ()

    def __init__(
        self, segmenter: nn.Module, *, source_images: int, target_images: int, margin: float
    ) -> None:
        super().__init__(segmenter)
        _check_extraction(source_images, target_images, margin)
        self.extraction = (source_images, target_images, margin)
        self.source_memory, self.target_memory = _memory(segmenter), _memory(segmenter)

    def players(self) -> dict[str, Player]:
        """None."""
        return {}

    def prepare(self, passes: Passes) -> None:
        """Centres of the source, then those of the target pixels that are near to them."""
        extract_centres(self, passes, *self.extraction)

    def losses(self, source: Source, target: Target, step: Step) -> Losses:
        """No loss."""
        yield from ()


class CFContra(Method):
    """MinEnt, and pixels of either domain drawn to the remembered centres of both."""

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
        require("margin_horizon", margin_horizon, "1 or more", margin_horizon >= 1)
        require_fraction(memory_momentum=memory_momentum)
        _check_extraction(source_images, target_images, margin)
        require("margin_power", margin_power, "0 or more", margin_power >= 0)
        require_choice("margin_schedule", margin_schedule, "constant", "poly")
        require_choice("pseudo_label", pseudo_label, "centre", "argmax")
        require_choice("grad_memory", grad_memory, "forward", "backward")
        check_centres_file(centres)
        self.centres = centres
        self.extraction = (source_images, target_images, margin)
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
        self.source_memory, self.target_memory = _memory(segmenter), _memory(segmenter)
        self.class_names = tuple(map(str, range(segmenter.num_classes)))
        self.shown: dict[str, Tensor] = {}

    def prepare(self, passes: Passes) -> None:
        """Both memories start from the centres of an earlier stage, or from some made here."""
        self.class_names = passes.classes
        if self.centres is None:
            extract_centres(self, passes, *self.extraction)
            return
        memories = (self.source_memory, self.target_memory)
        found = read_centres(self.centres, tuple(self.source_memory.centres.shape))
        for memory, centres in zip(memories, found, strict=True):
            memory.centres.copy_(centres)

    def losses(self, source: Source, target: Target, step: Step) -> Losses:
        """Supervised source, entropy of the target, and the contrast of both (Sec. 3.3).

        The memories are constants until both domains have gone backward. So the source's graph is
        free before the target is forwarded, unless the gradient is that of the release.
        """
        self.shown = {}
        prediction = self.segmenter(source.image)
        terms = L.supervised(prediction, source.label)
        seen = L.Similarities(embedding(prediction), self.memories())
        label = shrink_label(source.label, seen.size)
        source_centres = class_centres(seen.features, label, len(self.class_names))
        if self.grad_memory == "forward":
            yield Update("segmenter", **terms, **self.contrast("s", seen.cosines, label))
            terms = {}

        prediction = self.segmenter(target.image)
        heads = L.logits(prediction, target.image.shape[-2:])
        entropies = {
            f"ent{SUFFIX[head]}": L.entropy(L.probabilities(logits), hardest=1.0)
            for head, logits in heads.items()
        }
        other = L.Similarities(embedding(prediction), self.memories())
        pseudo_label = self.label(prediction, other, target.image.shape[-2:], step)
        target_centres = class_centres(other.features, pseudo_label, len(self.class_names))
        cosines = other.cosines
        if self.grad_memory == "backward":
            # In the release, a domain's own contrast has the gradient of a memory that the other
            # domain's centres have moved already.
            momentum = self.memory_momentum
            moved_source = self.source_memory.updated(target_centres, momentum)
            moved_target = self.target_memory.updated(source_centres, momentum)
            own = seen.with_gradient_of(moved_source, self.target_memory.centres)
            cosines = other.with_gradient_of(self.source_memory.centres, moved_target)
            terms |= self.contrast("s", own, label)
        terms |= self.contrast("t", cosines, pseudo_label)
        yield Update("segmenter", **terms, **entropies)

        self.update_memories(source_centres, target_centres)
        self.note_shares(pseudo_label)

    def memories(self) -> Float[Tensor, "c2 d"]:
        """The centres of the source, then those of the target."""
        return torch.cat([self.source_memory.centres, self.target_memory.centres])

    def contrast(
        self, domain: str, cosines: Float[Tensor, "b c2 h w"], label: Integer[Tensor, "b h w"]
    ) -> dict[str, Float[Tensor, ""]]:
        """Contrast of one domain's pixels with its own centres, and with those of the other."""
        names = {"s": ("contrast_s", "contrast_s2t"), "t": ("contrast_t2s", "contrast_t")}[domain]
        terms = {
            name: L.centre_contrast(to_memory, label, self.temperature, stable=self.stable)
            for name, to_memory in zip(names, cosines.chunk(2, dim=1), strict=True)
        }
        chance = math.log(len(self.class_names))
        self.shown |= {f"below_chance/{name}": chance - t.detach() for name, t in terms.items()}
        return terms

    def label(
        self, prediction: Prediction, seen: L.Similarities, size: Sequence[int], step: Step
    ) -> Integer[Tensor, "b h w"]:
        """Pseudo labels of the target, from the source's centres or from the main head."""
        if self.pseudo_label == "argmax":
            return L.network_label(prediction.main, size, seen.size)
        margin = margin_at(step.number, base=self.margin, **self.schedule)
        centres = self.source_memory.centres
        dot, length = seen.dot[:, : len(centres)].detach(), seen.length.detach()
        if self.norm_euclid:
            features = L.per_channel(seen.features.detach())
            dot, length = L.dot_products(features, centres), L.lengths(features)
        return L.nearest_centre(dot, length, centres, margin if self.reject else None)

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

    def note_shares(self, label: Integer[Tensor, "b h w"]) -> None:
        """Which share of the target's pixels has which pseudo label, and which has any."""
        classes = torch.arange(len(self.class_names), device=label.device)[:, None]
        shares = (label.flatten() == classes).float().mean(dim=1)
        names = [f"pseudo_share/{name}" for name in self.class_names]
        self.shown |= dict(zip(names, shares, strict=True)) | {"pseudo_share/all": shares.sum()}

    def monitor(self) -> dict[str, Tensor]:
        """How far below chance level ln C each contrast is, and shares of pseudo labels."""
        return self.shown


def embedding(prediction: Prediction) -> Float[Tensor, "b d h w"]:
    """What is compared: the projection, where the network has a projector."""
    return prediction.features if prediction.projection is None else prediction.projection


def margin_at(step: int, *, base: float, power: float, horizon: int) -> float:
    """base (1 - step / horizon)^power, 0 from the horizon on; constant if ``power`` is 0."""
    return base * max(0.0, 1 - step / horizon) ** power if power else base


def extract_centres(
    method: Centres | CFContra,
    passes: Passes,
    source_images: int,
    target_images: int,
    margin: float,
) -> None:
    """Fill both memories with centres of the data sets, normalised as in training.

    Of the source count the pixels that the network classifies right, of the target those with
    a nearest source centre. A class that the source never shows right has no centre; one that the
    target never shows takes that of the source.
    """
    classes = method.segmenter.num_classes
    source_memory, target_memory = method.source_memory.centres, method.target_memory.centres

    def source_means(source: Source) -> Float[Tensor, "b c d"]:
        prediction = method.segmenter(source.image)
        features = embedding(prediction)
        logits = upsample(prediction.main, tuple(features.shape[-2:]))
        return image_means(features, L.agreeing_label(logits, source.label), classes)

    def target_means(target: Target) -> Float[Tensor, "b c d"]:
        seen = L.Similarities(embedding(method.segmenter(target.image)), source_memory)
        label = L.nearest_centre(seen.dot, seen.length, source_memory, margin)
        return image_means(seen.features, label, classes)

    means = passes.run(
        "source_means", over="source", compute=source_means, count=source_images, train=True
    )
    source_memory.copy_(passes.summary("source_centres", whole_centres, of=means))
    _warn(passes.classes, source_memory, "source", "has no centre")
    # Its identity covers the source's centres: they are among the method's buffers.
    means = passes.run(
        "target_means",
        over="target",
        compute=target_means,
        count=target_images,
        train=True,
        depends_on={"margin": margin},
    )
    found = passes.summary("target_centres", whole_centres, of=means).to(target_memory.device)
    _warn(passes.classes, found, "target", "takes the source's centre")
    target_memory.copy_(fill_missing(found, source_memory))


def _warn(names: Sequence[str], centres: Float[Tensor, "c d"], domain: str, result: str) -> None:
    """Print the classes without a centre."""
    missing = [n for n, found in zip(names, centres.any(dim=1).tolist(), strict=True) if not found]
    if missing:
        print(f"no pixel of these classes was found in the {domain}: {', '.join(missing)}. "
              f"Each {result}.")  # fmt: skip


def _check_extraction(source_images: int, target_images: int, margin: float) -> None:
    require("source_images", source_images, "1 or more", source_images >= 1)
    require("target_images", target_images, "1 or more", target_images >= 1)
    require("margin", margin, "0 or more", margin >= 0)


def _memory(segmenter: nn.Module) -> ClassMemory:
    projector = segmenter.projector
    channels = segmenter.feature_channels if projector is None else projector.channels
    return ClassMemory(segmenter.num_classes, channels)
