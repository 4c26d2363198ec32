"""ProCA: prototypical contrast adaptation (Jiang et al., ECCV 2022), as released.

Two methods: the pass that makes the first prototypes, and the adaptation that moves them on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

import uda_hydra.losses as L
from uda_hydra.memory import Prototypes
from uda_hydra.memory.class_sums import class_sums
from uda_hydra.memory.prototypes import LEVELS, label_of, level_map
from uda_hydra.methods.base import (
    Losses,
    Method,
    Passes,
    Preparation,
    Update,
    require_choice,
    require_fraction,
    require_positive,
)
from uda_hydra.models.checkpoints.buffers import check_files, read_buffers
from uda_hydra.types import Source, Step, Target


class PrototypeInit(Preparation):
    """The class means of the source under the weights to begin with; nothing is trained."""

    def __init__(self, segmenter: nn.Module) -> None:
        super().__init__(segmenter)
        self.prototypes = _prototypes(segmenter)

    def prepare(self, passes: Passes) -> None:
        """One pass over the source's images as they are, in eval mode."""
        fill(self.prototypes, self.segmenter, passes)


class ProCA(Method):
    """Draws every cell of both domains to its class's prototype and away from all others."""

    terms = ("seg", "seg_aux", *LEVELS, "lov")

    def __init__(
        self,
        segmenter: nn.Module,
        *,
        prototypes: str | Sequence[str] | None,
        temperature: float,
        threshold: float,
        mask_on: str,
        multi_level: bool,
        use_momentum: bool,
        rho: float,
        window: float | None,
        update_from: str,
    ) -> None:
        super().__init__(segmenter)
        require_positive(temperature=temperature, window=window)
        require_fraction(rho=rho)
        require_choice("mask_on", mask_on, *L.MASKS)
        require_choice("update_from", update_from, "both", "source")
        check_files(prototypes, LEVELS, key="method.prototypes")
        self.files = prototypes
        self.temperature = temperature
        self.threshold = threshold
        self.mask_on = mask_on
        self.levels = LEVELS if multi_level else LEVELS[:1]
        self.update_from = update_from
        rule = {"momentum": rho if use_momentum else None, "window": window}
        self.prototypes = _prototypes(segmenter, **rule)

    def prepare(self, passes: Passes) -> None:
        """The first prototypes: those of the files, or of the weights to begin with."""
        if self.files is None:
            fill(self.prototypes, self.segmenter, passes)
            return
        tables = {f"prototypes.{level}": table for level, table in self.prototypes.items()}
        read_buffers(tables, self.files, key="method.prototypes")

    def losses(self, source: Source, target: Target, step: Step) -> Losses:
        """Each domain is normalised by itself; running statistics see the target last."""
        predictions = {"source": self.segmenter(source.image)}
        predictions["target"] = self.segmenter(target.image)
        terms = L.supervised_lovasz(predictions["source"], source.label)
        own = L.own_label(predictions["target"].main, self.threshold, on=self.mask_on)
        labels = {"source": source.label, "target": own}
        for level in self.levels:
            maps = {domain: level_map(one, level) for domain, one in predictions.items()}
            terms[level] = self.contrast(level, maps, labels)
        self.seen |= L.label_shares(own, self.segmenter.num_classes)
        yield Update("segmenter", **terms)

    def contrast(
        self, level: str, maps: dict[str, Tensor], labels: dict[str, Tensor]
    ) -> Float[Tensor, ""]:
        """Of both domains with the prototypes of the level, which take in the batch first."""
        table = self.prototypes[level]
        labels = {d: label_of(maps[d], label) for d, label in labels.items()}
        # The target first; only the momentum rule depends on the order.
        for domain in ("target", "source") if self.update_from == "both" else ("source",):
            table.update(maps[domain], labels[domain])
        losses = {
            domain: L.prototype_contrast(
                maps[domain], labels[domain], table.mean, temperature=self.temperature
            )
            for domain in maps
        }
        named = {f"{level}_{domain}": loss for domain, loss in losses.items()}
        self.seen |= L.from_chance(named, len(table.mean))
        return losses["source"] + losses["target"]


def fill(prototypes: nn.ModuleDict, segmenter: nn.Module, passes: Passes) -> None:
    """Give the prototypes the source's class means; made once, resumed image by image."""
    names = {level: f"source_{level}" for level in prototypes}

    def compute(source: Source) -> dict[str, dict[str, Tensor]]:
        prediction = segmenter(source.image)
        maps = {level: level_map(prediction, level) for level in names}
        return {
            names[k]: shown_sums(m, source.label, segmenter.num_classes) for k, m in maps.items()
        }

    stored = passes.run_all({name: {} for name in names.values()}, over="source", compute=compute)
    for level, table in prototypes.items():
        pool = partial(pool_sums, classes=segmenter.num_classes)
        whole = passes.summary(f"prototypes_{level}", pool, of=stored[names[level]])
        table.mean.copy_(whole["total"] / whole["count"].clamp(min=1)[:, None])
        table.count.copy_(whole["count"])


def shown_sums(
    map: Float[Tensor, "1 d h w"], label: Int[Tensor, "1 h2 w2"], classes: int
) -> dict[str, Tensor]:
    """Sums over the cells of the classes that an image shows; most images lack half of them."""
    total, count = class_sums(map, label_of(map, label), classes)
    shown = count > 0
    item = {"class": shown.nonzero()[:, 0], "total": total[shown], "count": count[shown]}
    return {name: values[None] for name, values in item.items()}


def pool_sums(items: Iterator[dict[str, Tensor]], *, classes: int) -> dict[str, Tensor]:
    """Sums over all images, in double precision."""
    total, count = None, torch.zeros(classes, dtype=torch.float64)
    for item in items:
        if total is None:
            total = torch.zeros(classes, item["total"].shape[1], dtype=torch.float64)
        total.index_add_(0, item["class"], item["total"].double())
        count.index_add_(0, item["class"], item["count"])
    return {"total": total, "count": count}


def _prototypes(segmenter: nn.Module, **rule: float | None) -> nn.ModuleDict:
    classes, channels = segmenter.num_classes, segmenter.feature_channels
    return nn.ModuleDict(
        {
            level: Prototypes(classes, dim, **rule)
            for level, dim in zip(LEVELS, (channels, classes), strict=True)
        }
    )
