"""Labels of every pixel of the target, from several looks: CaCo's retraining and Seg-Uncertainty.

Nothing is trained; a later stage reads the labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

import uda_hydra.losses as L
from uda_hydra.methods.base import Passes, Preparation, Store, require, require_positive
from uda_hydra.types import Target, upsample


class DenseLabels(Preparation):
    """The most probable class over several sizes of an image and of its mirror image."""

    def __init__(
        self,
        segmenter: nn.Module,
        *,
        size: Sequence[int],
        scales: Sequence[float],
        aux_weight: float,
        min_confidence: float,
        label_size: Sequence[int] | None,
    ) -> None:
        super().__init__(segmenter)
        require("scales", scales, "one number or more", len(scales) > 0)
        require_positive(**{f"scales[{i}]": scale for i, scale in enumerate(scales)})
        for key, value in {"size": size, "label_size": label_size or size}.items():
            fits = len(value) == 2 and min(value) > 0
            require(key, value, "[width, height] in pixels", fits)
        self.sizes = [(round(size[0] * scale), round(size[1] * scale)) for scale in scales]
        self.aux_weight = 0.0 if segmenter.aux_head is None else aux_weight
        self.min_confidence = min_confidence
        width, height = label_size or size
        self.label_size = (height, width)

    def prepare(self, passes: Passes) -> None:
        """One pass for each size; the last adds up what the others have stored."""
        seen: list[Store] = []
        looks = {"aux_weight": self.aux_weight}
        for number, size in enumerate(self.sizes[:-1]):
            look = passes.run(
                f"look{number}",
                over="target",
                compute=self.look,
                size=size,
                encoding="float16",
                depends_on=looks,
            )
            seen.append(look)
        self.labels = passes.run(
            "labels",
            over="target",
            compute=lambda target: self.label(target, seen),
            size=self.sizes[-1],
            encoding="uint8",
            kind="label",
            depends_on=looks
            | {"sizes": self.sizes[:-1], "min_confidence": self.min_confidence}
            | {"label_size": self.label_size},
        )

    def look(self, target: Target) -> Float[Tensor, "b k h w"]:
        """Mean probability of the image and of its mirror image, at the network's resolution."""
        logits = self.predict(target.image, aux_weight=self.aux_weight)
        mirrored = self.predict(target.image.flip(3), aux_weight=self.aux_weight)
        # Enlarging commutes with the mirror and the mean, so the small maps are averaged.
        return (L.probabilities(logits) + L.probabilities(mirrored).flip(3)) / 2

    def label(self, target: Target, seen: Sequence[Store]) -> Int64[Tensor, "b h w"]:
        """Of the mean over all sizes."""
        last = self.look(target)
        others = [torch.stack([store.read(key) for key in target.key]).to(last) for store in seen]
        return mean_label([*others, last], self.label_size, self.min_confidence)


def mean_label(
    looks: Sequence[Float[Tensor, "b k _ _"]], size: tuple[int, int], min_confidence: float
) -> Int64[Tensor, "b h w"]:
    """The most probable class of the looks' mean at ``size``; ignored below a confidence."""
    probability = sum(upsample(look, size) for look in looks) / len(looks)
    return L.confident_label(probability, min_confidence, inclusive=True)
