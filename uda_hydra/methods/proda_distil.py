"""ProDA (Zhang et al., CVPR 2021), stages 2 and 3: hard labels and distillation, as released.

The teacher is the model of the stage before and stays as it is. What every option does is said in
its YAML.
"""

from __future__ import annotations

from jaxtyping import Int64
from torch import Tensor, nn

import uda_hydra.losses as L
from uda_hydra.augment.released import shifted_too_far
from uda_hydra.augment.training import WeakStrong
from uda_hydra.augment.warp import warp_batch
from uda_hydra.memory import Frozen
from uda_hydra.methods._labels import STRIDE
from uda_hydra.methods.base import (
    Losses,
    Method,
    Passes,
    Update,
    require,
    require_choice,
)
from uda_hydra.models.checkpoints.buffers import check_there, named
from uda_hydra.models.checkpoints.loading import load_weights
from uda_hydra.models.checkpoints.reading import read_checkpoint
from uda_hydra.types import IGNORE, Source, Step, Target, upsample


class ProDADistil(Method):
    """Strong views of the target learn a teacher's confident labels and its probabilities."""

    terms = ("seg", "seg_aux", "ce", "rce", "kd")

    def __init__(
        self,
        segmenter: nn.Module,
        *,
        teacher: str | None,
        threshold: float | None,
        mirrored_look: bool,
        kd_student: str,
        released_shift: bool,
    ) -> None:
        super().__init__(segmenter)
        require_choice("kd_student", kd_student, "log_prob", "prob")
        fits = threshold is None or 0 <= threshold <= 1
        require("threshold", threshold, "null or in [0, 1]", fits)
        check_there(teacher, key="method.teacher", null="takes the first weights")
        self.teacher_file = teacher
        self.threshold = threshold
        self.mirrored_look = mirrored_look
        self.kd_student = kd_student
        self.released_shift = released_shift
        self.teacher = Frozen(segmenter)

    def check_views(self, augmentation: object) -> None:
        """The strong view is one of the weak one."""
        if not isinstance(augmentation, WeakStrong):
            raise ValueError("this method needs augmentation=weak_strong")

    def prepare(self, passes: Passes) -> None:
        """Load the teacher, and let it label the target."""
        if self.teacher_file is not None:
            with named("method.teacher"):
                load_teacher(self.teacher.network, self.teacher_file)
        self.labels = passes.run(
            "labels",
            over="target",
            compute=self.hard_label,
            encoding="uint8",
            kind="label",
            stride=STRIDE,
            depends_on={"threshold": self.threshold, "mirrored_look": self.mirrored_look},
        )

    def hard_label(self, target: Target) -> Int64[Tensor, "b h w"]:
        """The teacher's label of whole images, at their size."""
        logits = self.teacher(target.image).main
        mirrored = self.teacher(target.image.flip(3)).main if self.mirrored_look else None
        probability = L.two_look_probability(logits, mirrored, tuple(target.image.shape[-2:]))
        return L.half_precision_label(probability, self.threshold)

    def losses(self, source: Source, target: Target, step: Step) -> Losses:
        """Supervised source, then the strong view by labels and teacher."""
        source_prediction = self.segmenter(source.image)
        yield Update("segmenter", **L.supervised(source_prediction, source.label))

        # Labels move as the strong view did, cell by cell; what it does not show is ignored.
        views = target.strong_view
        views = shifted_too_far(views, stride=STRIDE) if self.released_shift else views
        weak = target.stored["labels"].float()[:, None]
        moved = warp_batch(weak, views, kind="feature", stride=STRIDE, fill=IGNORE)
        label = moved[:, 0].long()
        self.seen = L.label_shares(label, self.segmenter.num_classes)

        student, teacher = (
            upsample(L.full_precision(network(target.strong).main), tuple(label.shape[-2:]))
            for network in (self.segmenter, self.teacher)
        )
        yield Update(
            "segmenter",
            ce=L.segmentation(student, label),
            rce=L.reverse_cross_entropy(student, label),
            kd=L.distillation(student, teacher, student=self.kd_student),
        )


def load_teacher(network: nn.Module, file: str) -> None:
    """Fill ``network``; it loses the norm before its head where the file has none.

    Raises ValueError where the file does not fit.
    """
    if not any(name.startswith("feat_norm.") for name in read_checkpoint(file).tensors):
        network.feat_norm = None
    print(load_weights(network, file, whole=True))
