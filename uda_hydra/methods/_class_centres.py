"""The class centres of both data sets, by which CFContra begins (arXiv 2103.12371)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

import uda_hydra.losses as L
from uda_hydra.memory import ClassMemory, fill_missing, image_means, whole_centres
from uda_hydra.methods.base import Passes, require
from uda_hydra.types import Prediction, Source, Target, upsample


@dataclass(frozen=True)
class Extraction:
    """How the centres are measured. Raises ValueError for values out of range."""

    source_images: int
    """Most images of the source that are used."""
    target_images: int
    margin: float
    """Target pixels count whose second centre is so much farther than the first."""

    def __post_init__(self) -> None:
        require("source_images", self.source_images, "1 or more", self.source_images >= 1)
        require("target_images", self.target_images, "1 or more", self.target_images >= 1)
        require("margin", self.margin, "0 or more", self.margin >= 0)

    def run(
        self, segmenter: nn.Module, source: ClassMemory, target: ClassMemory, passes: Passes
    ) -> None:
        """Fill both memories, the network normalising by the batch as in training.

        Of the source count the pixels that the network classifies right. A class without such a
        pixel has a centre of zeros; one without a pixel in the target takes the source's centre.
        """
        classes = segmenter.num_classes

        def source_means(batch: Source) -> Float[Tensor, "b c d"]:
            prediction = segmenter(batch.image)
            features = embedding(prediction)
            logits = upsample(prediction.main, tuple(features.shape[-2:]))
            return image_means(features, L.agreeing_label(logits, batch.label), classes)

        def target_means(batch: Target) -> Float[Tensor, "b c d"]:
            features = embedding(segmenter(batch.image))
            similarity = L.similarity(features, source.centres)
            label = L.nearest_centre(similarity, source.centres, self.margin)
            return image_means(features, label, classes)

        def centres(domain: str, count: int, **how: object) -> Float[Tensor, "c d"]:
            means = passes.run(f"{domain}_means", over=domain, count=count, train=True, **how)
            found = passes.summary(f"{domain}_centres", whole_centres, of=means)
            return found.to(source.centres.device)

        source.centres.copy_(centres("source", self.source_images, compute=source_means))
        _warn(passes.classes, source.centres, "source", "has no centre")
        # The identity of this pass covers the source's centres: they are a buffer of the method.
        settings = {"margin": self.margin}
        found = centres("target", self.target_images, compute=target_means, depends_on=settings)
        _warn(passes.classes, found, "target", "takes the source's centre")
        target.centres.copy_(fill_missing(found, source.centres))


def memory_for(segmenter: nn.Module) -> ClassMemory:
    """An empty memory for what the network's ``embedding`` is."""
    projector = segmenter.projector
    channels = segmenter.feature_channels if projector is None else projector.channels
    return ClassMemory(segmenter.num_classes, channels)


def embedding(prediction: Prediction) -> Float[Tensor, "b d h w"]:
    """What is compared: the projection, where the network has a projector, else the features."""
    return prediction.features if prediction.projection is None else prediction.projection


def _warn(names: Sequence[str], centres: Float[Tensor, "c d"], domain: str, result: str) -> None:
    """Print the classes without a centre."""
    missing = [n for n, found in zip(names, centres.any(dim=1).tolist(), strict=True) if not found]
    if missing:
        print(f"no pixel of these classes was found in the {domain}: {', '.join(missing)}. "
              f"Each {result}.")  # fmt: skip
