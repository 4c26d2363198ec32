"""FADA: fine-grained adversarial domain adaptation (Wang et al., ECCV 2020), as released."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

import uda_hydra.losses as L
from uda_hydra.methods.base import (
    Losses,
    Method,
    Player,
    Update,
    require,
    require_fraction,
    require_positive,
)
from uda_hydra.models.discriminators import PixelDiscriminator
from uda_hydra.types import Prediction, Source, Step, Target, upsample


class Fada(Method):
    """A discriminator knows domain and class of every pixel; target features fool it by class."""

    terms = ("seg", "seg_aux", "adv", "disc_source", "disc_target")

    def __init__(
        self, segmenter: nn.Module, *, temperature: float, clip: float, discriminator_width: int
    ) -> None:
        super().__init__(segmenter)
        require_positive(temperature=temperature)
        wide = discriminator_width >= 2
        require("discriminator_width", discriminator_width, "2 or more", wide)
        require_fraction(clip=clip)
        self.temperature = temperature
        self.clip = clip
        self.discriminator = PixelDiscriminator(
            segmenter.feature_channels, segmenter.num_classes, width=discriminator_width
        )

    def players(self) -> dict[str, Player]:
        """The segmenter, and the discriminator."""
        return super().players() | {"discriminator": Player(self.discriminator, "discriminator")}

    def losses(self, source: Source, target: Target, step: Step) -> Losses:
        """Supervised source, the target's features against the discriminator, then that on both."""
        seen = self.segmenter(source.image)
        # The release's temperature: the logits are divided by it in the cross-entropy too.
        heads = {"main": seen.main / self.temperature}
        if seen.aux is not None:
            heads["aux"] = seen.aux / self.temperature
        terms = L.supervised(seen._replace(**heads), source.label)
        yield Update("segmenter", **terms)
        known = {"source": self.knowledge(seen, source.image)}
        features = {"source": seen.features.detach()}
        del seen, heads, terms

        other = self.segmenter(target.image)
        known["target"] = self.knowledge(other, target.image)
        features["target"] = other.features.detach()
        adv = L.fine_grained(self.scores(other.features, target.image), known["target"], L.SOURCE)
        yield Update("segmenter", adv=adv)
        del other, adv

        # On the features from before the step, as constants.
        for name, domain, image in (
            ("source", L.SOURCE, source.image),
            ("target", L.TARGET, target.image),
        ):
            scores = self.scores(features[name], image)
            loss = L.fine_grained(scores, known[name], domain)
            yield Update("discriminator", **{f"disc_{name}": loss})

    @torch.no_grad()
    def knowledge(
        self, prediction: Prediction, image: Float[Tensor, "b 3 h w"]
    ) -> Float[Tensor, "b k h w"]:
        """The class probabilities that stand for the discriminator's labels."""
        logits = upsample(L.full_precision(prediction.main), image.shape[-2:])
        return L.class_knowledge(logits, temperature=self.temperature, clip=self.clip)

    def scores(
        self, features: Float[Tensor, "b d _ _"], image: Float[Tensor, "b 3 h w"]
    ) -> Float[Tensor, "b k2 h w"]:
        """The discriminator's, at the image's size."""
        return upsample(L.full_precision(self.discriminator(features)), image.shape[-2:])
