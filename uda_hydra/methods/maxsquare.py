"""MaxSquare: confident predictions on the target by one pixel loss (Chen et al., ICCV 2019)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

import uda_hydra.losses as L
from uda_hydra.methods.base import Losses, Method, Update, require_choice, require_fraction
from uda_hydra.types import Source, Step, Target

MODES = ("maxsquare", "iw_maxsquare", "entropy", "iw_entropy", "hard")


class MaxSquare(Method):
    """The main head becomes sure of the target, and guides the auxiliary one where there is one."""

    terms = ("seg", "seg_aux", "target", "guidance_aux")

    def __init__(
        self, segmenter: nn.Module, *, target_mode: str, iw_ratio: float, threshold: float
    ) -> None:
        super().__init__(segmenter)
        require_choice("target_mode", target_mode, *MODES)
        require_fraction(iw_ratio=iw_ratio, threshold=threshold)
        self.target_mode = target_mode
        self.iw_ratio = iw_ratio
        self.threshold = threshold

    def losses(self, source: Source, target: Target, step: Step) -> Losses:
        """Supervised source, then the target's own confidence and what the heads agree on."""
        source_prediction = self.segmenter(source.image)
        yield Update("segmenter", **L.supervised(source_prediction, source.label))

        # The main head by Eq. 5, 9 or a baseline; the auxiliary one by self-produced guidance
        # (Sec. 3.5): only it learns from what both heads agree on.
        logits = L.logits(self.segmenter(target.image), target.image.shape[-2:])
        probability = {head: L.probabilities(z) for head, z in logits.items()}
        terms = {"target": self.target_loss(logits["main"], probability["main"])}
        if "aux" in logits:
            guide = L.guiding_label(**probability, threshold=self.threshold)
            terms["guidance_aux"] = L.segmentation(logits["aux"], guide)
        yield Update("segmenter", **terms)

    def target_loss(
        self, logits: Float[Tensor, "b k h w"], probability: Float[Tensor, "b k h w"]
    ) -> Float[Tensor, ""]:
        """The loss that ``target_mode`` names."""
        match self.target_mode:
            case "maxsquare":
                return L.max_square(probability)
            case "iw_maxsquare":
                return -self.image_wise(probability.square().sum(dim=1), probability)
            case "entropy":
                return L.mean_entropy(logits)
            case "iw_entropy":
                return self.image_wise(L.pixel_entropy(logits), probability)
            case _:
                label = L.confident_label(probability, self.threshold, inclusive=False)
                return L.segmentation(logits, label)

    def image_wise(
        self, values: Float[Tensor, "b h w"], probability: Float[Tensor, "b k h w"]
    ) -> Float[Tensor, ""]:
        """The values summed with their pixels' class weights."""
        weights = L.pixel_weights(probability, ratio=self.iw_ratio)
        return L.image_wise(values, weights, num_classes=probability.shape[1])
