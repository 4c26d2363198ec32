"""FDA (Yang and Soatto, CVPR 2020): source images with low Fourier amplitudes of the target.

The amplitudes are exchanged by ``augmentation=restyle``. What every option does is said in its
YAML.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxtyping import Float
from torch import Tensor, nn

import uda_hydra.losses as L
from uda_hydra.files import digest
from uda_hydra.memory import Frozen
from uda_hydra.methods.base import (
    Item,
    Losses,
    Method,
    Passes,
    Update,
    require_fraction,
    require_positive,
)
from uda_hydra.models.checkpoints.buffers import check_there, named
from uda_hydra.models.checkpoints.loading import load_weights
from uda_hydra.types import Source, Step, Target, upsample


class FDA(Method):
    """The restyled source, sure predictions of the target and, with teachers, their labels."""

    terms = ("seg", "seg_aux", "ent", "ce", "ce_aux")

    def __init__(
        self,
        segmenter: nn.Module,
        *,
        power: float,
        teachers: Sequence[str] | None,
        keep_fraction: float,
        cap: float,
    ) -> None:
        super().__init__(segmenter)
        require_positive(power=power)
        require_fraction(keep_fraction=keep_fraction, cap=cap)
        check_there(teachers, key="method.teachers", null="gives the target no labels")
        self.power = power
        self.teacher_files = teachers
        self.keep_fraction = keep_fraction
        self.cap = cap

    def prepare(self, passes: Passes) -> None:
        """Let the teachers label the target together, where there are some."""
        if self.teacher_files is None:
            return
        teachers = []
        for file in self.teacher_files:
            teacher = Frozen(self.segmenter)
            with named("method.teachers"):
                print(load_weights(teacher.network, file, whole=True))
            teachers.append(teacher)
        files = {"teachers": [digest(Path(file)) for file in self.teacher_files]}
        counts = passes.run(
            "log_odds",
            over="target",
            compute=lambda t: L.image_histograms(mean_probability(teachers, t)),
            depends_on=files,
        )
        settings = files | {"keep_fraction": self.keep_fraction, "cap": self.cap}
        thresholds = passes.summary("thresholds", self.threshold, of=counts, depends_on=settings)
        self.labels = passes.run(
            "labels",
            over="target",
            compute=lambda t: L.sure_label(*mean_probability(teachers, t).max(dim=1), thresholds),
            encoding="uint8",
            kind="label",
            depends_on=settings,
        )

    def threshold(self, counts: Iterator[Item]) -> Float[Tensor, " k"]:
        """Which confidence the surest ``keep_fraction`` of each class's pixels reaches."""
        total = sum(item.long() for item in counts)
        return L.share_thresholds(total, 1 - self.keep_fraction, self.cap)

    def losses(self, source: Source, target: Target, step: Step) -> Losses:
        """The restyled source, then the target as it is."""
        yield Update("segmenter", **L.supervised(self.segmenter(source.image), source.label))

        prediction = self.segmenter(target.image)
        terms = {"ent": L.charbonnier_entropy(prediction.main, power=self.power)}
        if self.labels is not None:
            label = target.stored["labels"].long()
            own = L.supervised(prediction, label)
            terms |= {name.replace("seg", "ce"): loss for name, loss in own.items()}
            self.seen = L.label_shares(label, self.segmenter.num_classes)
        yield Update("segmenter", **terms)


def mean_probability(teachers: Sequence[nn.Module], target: Target) -> Float[Tensor, "b k h w"]:
    """Of the teachers, at the image's size; their logits are enlarged."""
    size = tuple(target.image.shape[-2:])
    looks = [teacher(target.image).main for teacher in teachers]
    return sum(L.probabilities(upsample(L.full_precision(z), size)) for z in looks) / len(looks)
