"""SDCA: semantic distribution-aware contrastive adaptation (Li et al., 2021), ProCA's parent."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn

import uda_hydra.losses as L
from uda_hydra.memory import Gaussians
from uda_hydra.memory.class_sums import class_moments
from uda_hydra.memory.prototypes import LEVELS, label_of, level_map
from uda_hydra.methods.base import (
    Losses,
    Method,
    Passes,
    Update,
    require_choice,
    require_positive,
)
from uda_hydra.types import Prediction, Source, Step, Target


class Sdca(Method):
    """Draws every cell of both domains to the distribution of its class in the source."""

    terms = ("seg", "seg_aux", *LEVELS, "lov")

    def __init__(
        self,
        segmenter: nn.Module,
        *,
        temperature: float,
        threshold: float,
        mask_on: str,
        multi_level: bool,
    ) -> None:
        super().__init__(segmenter)
        require_positive(temperature=temperature)
        require_choice("mask_on", mask_on, *L.MASKS)
        self.temperature = temperature
        self.threshold = threshold
        self.mask_on = mask_on
        classes, channels = segmenter.num_classes, segmenter.feature_channels
        sizes = {"feat": channels, "out": classes}
        self.levels = LEVELS if multi_level else LEVELS[:1]
        self.gaussians = nn.ModuleDict({k: Gaussians(classes, sizes[k]) for k in self.levels})

    def prepare(self, passes: Passes) -> None:
        """Mean and variance of each class over the source, under the weights to begin with."""

        def compute(source: Source) -> dict[str, dict[str, Tensor]]:
            prediction = self.segmenter(source.image)
            return {f"source_{k}": self.moments(prediction, source, k) for k in self.levels}

        stored = {f"source_{level}": {} for level in self.levels}
        artifacts = passes.run_all(stored, over="source", compute=compute)
        for level, table in self.gaussians.items():
            pooled = partial(pool, size=tuple(table.mean.shape))
            of = artifacts[f"source_{level}"]
            table.load_state_dict(passes.summary(f"gaussians_{level}", pooled, of=of))

    def moments(self, prediction: Prediction, source: Source, level: str) -> dict[str, Tensor]:
        """Those of the classes that an image shows."""
        map = level_map(prediction, level)
        label = label_of(map, source.label)
        mean, variance, count = class_moments(map, label, self.segmenter.num_classes)
        shown = count > 0
        values = {"mean": mean, "variance": variance, "count": count}
        item = {name: value[shown] for name, value in values.items()}
        return {k: v[None] for k, v in (item | {"class": shown.nonzero()[:, 0]}).items()}

    def losses(self, source: Source, target: Target, step: Step) -> Losses:
        """Each domain is normalised by itself; running statistics see the target last."""
        predictions = {"source": self.segmenter(source.image)}
        predictions["target"] = self.segmenter(target.image)
        terms = L.supervised_lovasz(predictions["source"], source.label)
        own = L.own_label(predictions["target"].main, self.threshold, on=self.mask_on)
        labels = {"source": source.label, "target": own}
        for level, table in self.gaussians.items():
            maps = {domain: level_map(one, level) for domain, one in predictions.items()}
            cells = {domain: label_of(map, labels[domain]) for domain, map in maps.items()}
            table.update(maps["source"], cells["source"])
            losses = [
                L.gaussian_contrast(
                    maps[domain],
                    cells[domain],
                    table.mean,
                    table.variance,
                    temperature=self.temperature,
                )
                for domain in maps
            ]
            named = {f"{level}_{d}": loss for d, loss in zip(maps, losses, strict=True)}
            self.seen |= L.from_chance(named, len(table.mean))
            terms[level] = sum(losses)
        self.seen |= L.label_shares(own, self.segmenter.num_classes)
        yield Update("segmenter", **terms)


def pool(items: Iterator[dict[str, Tensor]], *, size: tuple[int, int]) -> dict[str, Tensor]:
    """The moments of all images' cells; ``size`` is (classes, channels)."""
    whole = Gaussians(*size)
    for item in items:
        whole.take(*spread(item, *size))
    return whole.state_dict()


def spread(item: dict[str, Tensor], classes: int, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Moments of all classes, from those of the classes that an image shows."""
    row = item["class"]
    mean = torch.zeros(classes, dim).index_copy(0, row, item["mean"].float())
    variance = torch.zeros(classes, dim).index_copy(0, row, item["variance"].float())
    count = torch.zeros(classes, dtype=torch.float64).index_copy(0, row, item["count"])
    return mean, variance, count
