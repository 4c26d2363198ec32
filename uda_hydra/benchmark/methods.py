"""Steps of the adversarial and entropy methods against their bare forward and backward passes."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from uda_hydra.benchmark.setup import (
    RESNET101,
    SMALLEST,
    Scale,
    streets_pair,
    trainer_of,
)
from uda_hydra.benchmark.step import GRADIENT, cross_entropy
from uda_hydra.benchmark.timing import Measurement, Setting, agree, overhead, side_by_side
from uda_hydra.data.pair import Pair
from uda_hydra.engine.trainer import Trainer
from uda_hydra.methods.base import Method
from uda_hydra.methods.maxsquare import MaxSquare
from uda_hydra.methods.minent import MinEnt
from uda_hydra.methods.output_adversarial import OutputAdversarial
from uda_hydra.types import Source, Step, Target

SUPERVISED = {"seg": 1.0, "seg_aux": 0.1}
SQUARE = {"iw_ratio": 0.2, "threshold": 0.95}
GAME = {"gan": "vanilla", "discriminator_target_label": 1, "discriminator_width": 64}
MADE: dict[str, tuple[type[Method], dict[str, Any]]] = {
    "AdaptSegNet": (OutputAdversarial, GAME | {"view": "probability"}),
    "AdvEnt": (OutputAdversarial, GAME | {"view": "self_information"}),
    "MinEnt": (MinEnt, {"hardest": 1.0, "prior_strictness": None}),
    "MaxSquare": (MaxSquare, SQUARE | {"target_mode": "maxsquare"}),
    "MaxSquare, image-wise": (MaxSquare, SQUARE | {"target_mode": "iw_maxsquare"}),
}


def compare(setting: Setting) -> list[Measurement]:
    """One step of each at the paper's sizes; on the CPU with a shortened trunk unless ``full``."""
    scale, height, repetitions = SMALLEST, 64, 2
    if not setting.quick:
        gpu = setting.device.type == "cuda"
        blocks = RESNET101 if gpu or setting.full else (1, 1, 1, 1)
        # A quarter of the size on the CPU: the ratio of a step to its passes hardly depends on it.
        part = 1 if gpu or setting.full else 4
        sizes = [(w // part, h // part) for w, h in ((1280, 720), (1024, 512))]
        scale = Scale(*sizes, blocks, width=64)
        height, repetitions = 512, 20 if gpu else 5
    pair = streets_pair(setting.folder, scale, height=height)
    rows = []
    for name, (kind, options) in MADE.items():
        trainer = trained(kind, options, pair, scale, setting)
        source, target = next(trainer.batches())
        passes = Passes(trainer, source, target)
        passes.check()
        times = side_by_side(
            partial(trainer.step, source, target, Step(0, 0.0)),
            passes.run,
            repetitions=repetitions,
            device=setting.device,
        )
        rows.append(overhead(f"{name} step", times, passes.demand, scale.text(trainer.bfloat16)))
    return rows


def trained(
    kind: type[Method], options: dict[str, Any], pair: Pair, scale: Scale, setting: Setting
) -> Trainer:
    """Of the losses' weights only those of the source matter here; none may be zero."""
    return trainer_of(
        lambda segmenter: kind(segmenter, **options),
        pair,
        scale,
        weights={f"lambda_{term}": SUPERVISED.get(term, 1e-3) for term in kind.terms},
        steps=1,
        device=setting.device,
        folder=setting.folder / "methods",
    )


class Passes:
    """What a step cannot do without: the supervised source, the target's forward and backward pass.

    And where there are discriminators, one forward pass for each domain, the backward pass to their
    input on the target, and the one to their weights on both.
    """

    def __init__(self, trainer: Trainer, source: Source, target: Target) -> None:
        self.trainer, self.source, self.target = trainer, source, target
        self.segmenter = trainer.method.segmenter
        player = trainer.method.players().get("discriminators")
        self.discriminators = [] if player is None else [*player.module.values()]
        self.demand = "at most 1.25" if self.discriminators else "at most 1.05"
        self.maps = {
            domain: torch.rand(
                len(image), self.segmenter.num_classes, *image.shape[-2:], device=trainer.device
            )
            for domain, image in (("source", source.image), ("target", target.image))
        }

    def run(self) -> Tensor:
        """All of them once; returns the source's loss."""
        for parameter in self.trainer.method.parameters():
            parameter.grad = None
        mine = self.trainer.players["segmenter"]
        with self.trainer.precision():
            seen = self.segmenter(self.source.image)
            loss = cross_entropy(seen.main, self.source.label)
            loss = loss + SUPERVISED["seg_aux"] * cross_entropy(seen.aux, self.source.label)
        loss.backward(inputs=mine)
        with self.trainer.precision():
            other = self.segmenter(self.target.image)
        for discriminator in self.discriminators:
            self._game(discriminator)
        maps = other.main, other.aux
        torch.autograd.backward(maps, [torch.full_like(m, GRADIENT) for m in maps], inputs=mine)
        return loss

    def _game(self, discriminator: nn.Module) -> None:
        weights = [*discriminator.parameters()]
        view = self.maps["target"].requires_grad_()
        with self.trainer.precision():
            scores = discriminator(view).mean()
        torch.autograd.grad(scores, view, retain_graph=True)
        scores.backward(inputs=weights)
        with self.trainer.precision():
            scores = discriminator(self.maps["source"]).mean()
        scores.backward(inputs=weights)

    def check(self) -> None:
        """The passes see what the step sees."""
        plain = self.run().detach()
        values = self.trainer.step(self.source, self.target, Step(0, 0.0))
        total = values["loss/seg"] + SUPERVISED["seg_aux"] * values["loss/seg_aux"]
        agree("source loss of a step", total, plain, tolerance=1e-3)
