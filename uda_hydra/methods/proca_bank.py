"""The memory-bank variant of ProCA (Jiang et al., ECCV 2022): contrast with queues of embeddings.

The release's script cannot run as shipped. ``compat: fixed`` is what it means to do, ``official``
what it does literally once it is given a temperature.
"""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn

import uda_hydra.losses as L
from uda_hydra.memory import PixelBank, sample_anchors
from uda_hydra.memory.cells import Permutation
from uda_hydra.methods.base import (
    Losses,
    Method,
    Player,
    Update,
    require,
    require_choice,
    require_positive,
)
from uda_hydra.models.projectors import PROJECTORS, Projector
from uda_hydra.types import Source, Step, Target, shrink_label


class MemoryBank(Method):
    """Draws embeddings of both domains to those of their class in a bank, away from the others."""

    terms = ("seg", "seg_aux", "lov", "source", "target")
    permute: Permutation | None = None
    """The order in which cells are drawn, for tests; None for a random one."""

    def __init__(
        self,
        segmenter: nn.Module,
        *,
        temperature: float,
        threshold: float,
        mask_on: str,
        memory_size: int,
        pixels: int,
        projection_dim: int,
        min_samples: int,
        max_samples: int,
        compat: str,
    ) -> None:
        super().__init__(segmenter)
        require_positive(temperature=temperature)
        counts = {"memory_size": memory_size, "projection_dim": projection_dim}
        for key, value in (counts | {"min_samples": min_samples}).items():
            require(key, value, "1 or more", value >= 1)
        require_choice("mask_on", mask_on, *L.MASKS)
        require_choice("compat", compat, "fixed", "official")
        classes, channels = segmenter.num_classes, segmenter.feature_channels
        # So that every class that is drawn has an anchor.
        enough = max_samples >= classes
        require("max_samples", max_samples, f"{classes} or more, one of each class", enough)
        self.temperature = temperature
        self.threshold = threshold
        self.mask_on = mask_on
        self.sampling = {"min_samples": min_samples, "max_samples": max_samples}
        self.official = compat == "official"
        kind = PROJECTORS["proca"]._replace(out=projection_dim)
        self.projector = Projector(kind, channels, hidden=channels)
        if self.official:
            # The release gives it to no optimiser: it stays a random projection.
            self.projector.requires_grad_(False)
        self.bank = PixelBank(
            classes, memory_size, projection_dim, pixels=pixels, official=self.official
        )

    def players(self) -> dict[str, Player]:
        """The segmenter, and the projection at the rate of its heads unless it is frozen."""
        frozen = {} if self.official else {"projector": Player(self.projector, "head")}
        return super().players() | frozen

    def losses(self, source: Source, target: Target, step: Step) -> Losses:
        """Both domains fill the bank, the source first, before either is compared with it."""
        predictions = {"source": self.segmenter(source.image)}
        predictions["target"] = self.segmenter(target.image)
        terms = L.supervised_lovasz(predictions["source"], source.label)

        own = L.own_label(predictions["target"].main, self.threshold, on=self.mask_on)
        labels = {"source": source.label, "target": own}
        guess = {"source": predictions["source"].main.argmax(dim=1), "target": own}
        embeddings, cells = {}, {}
        for domain, prediction in predictions.items():
            embeddings[domain] = self.projector(prediction.features)
            size = embeddings[domain].shape[-2:]
            cells[domain] = shrink_label(labels[domain], size), shrink_label(guess[domain], size)
            self.bank.update(embeddings[domain], cells[domain][0], self.permute)
        for domain, embedding in embeddings.items():
            terms[domain] = self.contrast(domain, embedding, *cells[domain])
        self.seen |= L.label_shares(own, self.segmenter.num_classes)
        yield Update(*self.players(), **terms)

    def contrast(
        self,
        domain: str,
        embedding: Float[Tensor, "b d h w"],
        label: Int[Tensor, "b h w"],
        predicted: Int[Tensor, "b h w"],
    ) -> Float[Tensor, ""]:
        """Of sampled embeddings with the bank."""
        anchors = sample_anchors(
            embedding,
            label,
            predicted,
            num_classes=self.segmenter.num_classes,
            permute=self.permute,
            **self.sampling,
        )
        loss = L.bank_contrast(
            *anchors,
            self.bank.mean,
            self.bank.pixel,
            temperature=self.temperature,
            official=self.official,
        )
        # Chance: one positive among all slots of the other classes, all equally far.
        classes, length = self.bank.mean.shape[:2]
        others = 2 * classes * length - (length if self.official else 2 * length)
        self.seen |= L.from_chance({domain: loss}, 1 + others)
        return loss / len(embedding) if self.official else loss
