"""CaCo + ProDA (Huang et al., CVPR 2022): ProDA's warm-up with pseudo labels of CaCo's model.

What follows it are ProDA's own stages.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

import uda_hydra.losses as L
from uda_hydra.methods._labels import STRIDE, check_label_folder, most_probable, target_labels
from uda_hydra.methods.base import Losses, Method, Passes, Player, Update, require_choice
from uda_hydra.models.discriminators import Fc3x3, PerHead
from uda_hydra.types import Source, Step, Target


class LabelledWarmup(Method):
    """The target learns pseudo labels and to pass for the source, from one look at it."""

    terms = (
        *("seg", "seg_aux", "ce", "adv", "adv_aux"),
        *("disc_source", "disc_source_aux", "disc_target", "disc_target_aux"),
    )

    def __init__(
        self,
        segmenter: nn.Module,
        *,
        labels: str | None,
        gan: str,
        discriminator_width: int,
    ) -> None:
        super().__init__(segmenter)
        require_choice("gan", gan, *L.GANS)
        check_label_folder(labels)
        self.folder = labels
        self.gan = gan
        self.discriminators = PerHead(
            segmenter, lambda: Fc3x3(segmenter.num_classes, width=discriminator_width)
        )

    def players(self) -> dict[str, Player]:
        """The segmenter against its discriminators."""
        discriminators = Player(self.discriminators, "discriminator")
        return super().players() | {"discriminators": discriminators}

    def prepare(self, passes: Passes) -> None:
        """Open the labels of an earlier stage, or let the first weights make them."""
        own = partial(most_probable, self.segmenter)
        self.labels = target_labels(passes, self.folder, own, stride=STRIDE)

    def losses(self, source: Source, target: Target, step: Step) -> Losses:
        """The segmenter on both domains, then the discriminators on both."""
        seen = self.segmenter(source.image)
        yield Update("segmenter", **L.supervised(seen, source.label))

        # One look at the target, against its pseudo labels at a quarter of the size and against
        # the discriminators at full size.
        prediction = self.segmenter(target.image)
        label = target.stored["labels"].long()
        self.seen = L.label_shares(label, self.segmenter.num_classes)
        views = probabilities(L.logits(prediction, target.image.shape[-2:]))
        yield Update(
            "segmenter",
            ce=L.segmentation(prediction.main, label),
            **L.adversarial("adv", self.discriminators(views), L.SOURCE, kind=self.gan),
        )

        with torch.no_grad():
            source_views = probabilities(L.logits(seen, source.image.shape[-2:]))
        constant = {head: view.detach() for head, view in views.items()}
        for name, shown, domain in (
            ("disc_source", source_views, L.SOURCE),
            ("disc_target", constant, L.TARGET),
        ):
            scores = self.discriminators(shown)
            yield Update("discriminators", **L.adversarial(name, scores, domain, kind=self.gan))


def probabilities(logits: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those of each head, which the discriminators see."""
    return {head: L.probabilities(map) for head, map in logits.items()}
