"""AdaptSegNet (Tsai et al., CVPR 2018) and AdvEnt (Vu et al., CVPR 2019).

Both adapt the output against discriminators. AdaptSegNet shows them the class probabilities, AdvEnt
the entropy of the pixels, class by class: ``method.view``. That is all the difference.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

import uda_hydra.losses as L
from uda_hydra.methods.base import Losses, Method, Player, Update, require, require_choice
from uda_hydra.models.discriminators import Fc3x3, FcPix2pix, PerHead
from uda_hydra.types import Prediction, Source, Step, Target

VIEWS = {
    "probability": lambda probability: probability,
    "self_information": L.self_information,
}
"""What a discriminator sees of a head's class probabilities."""
DISCRIMINATORS = {"pix2pix": FcPix2pix, "fc3x3": Fc3x3}
"""That of AdaptSegNet and AdvEnt, and that of ProDA's warm-up."""


class OutputAdversarial(Method):
    """The target's predictions learn to pass for those of the source, on every head."""

    terms = (
        *("seg", "seg_aux", "adv", "adv_aux"),
        *("disc_source", "disc_source_aux", "disc_target", "disc_target_aux"),
    )

    def __init__(
        self,
        segmenter: nn.Module,
        *,
        view: str,
        gan: str,
        discriminator_target_label: int,
        discriminator_width: int,
        discriminator: str = "pix2pix",
    ) -> None:
        super().__init__(segmenter)
        require_choice("view", view, *VIEWS)
        require_choice("gan", gan, *L.GANS)
        require_choice("discriminator", discriminator, *DISCRIMINATORS)
        known = discriminator_target_label in (L.SOURCE, L.TARGET)
        require("discriminator_target_label", discriminator_target_label, "0 or 1", known)
        self.view = view
        self.gan = gan
        self.discriminator_target_label = discriminator_target_label
        """TARGET, or SOURCE to repeat the bug of Adversarial_DA_Exp: nothing is left to learn."""
        kind = DISCRIMINATORS[discriminator]
        self.discriminators = PerHead(
            segmenter, lambda: kind(segmenter.num_classes, width=discriminator_width)
        )

    def players(self) -> dict[str, Player]:
        """The segmenter against its discriminators."""
        discriminators = Player(self.discriminators, "discriminator")
        return super().players() | {"discriminators": discriminators}

    def losses(self, source: Source, target: Target, step: Step) -> Losses:
        """The segmenter on both domains, then the discriminators on both.

        As in the releases, the discriminators look at the target twice: once for the segmenter's
        gradient and once for their own. At the papers' sizes the second look is 1 % of a step's
        arithmetic; one shared look would hold the target's graph until both backward passes end.
        """
        # Supervised segmentation of the source: AdaptSegNet, Eq. 3; AdvEnt, Eq. 1.
        source_prediction = self.segmenter(source.image)
        yield Update("segmenter", **L.supervised(source_prediction, source.label))

        # The target should pass for source: AdaptSegNet, Eq. 4; AdvEnt, Eq. 6.
        target_views = self.views(self.segmenter(target.image), target)
        scores = self.discriminators(target_views)
        yield Update("segmenter", **L.adversarial("adv", scores, L.SOURCE, kind=self.gan))

        # The discriminators tell them apart, on constant views: AdaptSegNet, Eq. 2; AdvEnt, Eq. 5.
        scores = self.discriminators({head: v.detach() for head, v in target_views.items()})
        label = self.discriminator_target_label
        yield Update("discriminators", **L.adversarial("disc_target", scores, label, kind=self.gan))

        with torch.no_grad():
            source_views = self.views(source_prediction, source)
        scores = self.discriminators(source_views)
        yield Update(
            "discriminators", **L.adversarial("disc_source", scores, L.SOURCE, kind=self.gan)
        )

    def views(
        self, prediction: Prediction, batch: Source | Target
    ) -> dict[str, Float[Tensor, "b k h w"]]:
        """What the discriminators see of a prediction, by head, at the size of the image."""
        logits = L.logits(prediction, batch.image.shape[-2:])
        return {head: VIEWS[self.view](L.probabilities(z)) for head, z in logits.items()}
