"""A step of ProDA's first stage against its bare forward and backward passes."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from uda_hydra.augment.training import WeakStrong
from uda_hydra.benchmark.setup import (
    CLASSES,
    RESNET101,
    SMALLEST,
    Scale,
    streets_pair,
    trainer_of,
)
from uda_hydra.benchmark.step import GRADIENT, cross_entropy
from uda_hydra.benchmark.timing import Measurement, Setting, agree, overhead, side_by_side
from uda_hydra.engine.trainer import Trainer
from uda_hydra.methods.proda import ProDA
from uda_hydra.models.deeplabv2_cat import deeplabv2_cat
from uda_hydra.types import Source, Step, Target

WEIGHTS = {"seg": 1.0, "seg_aux": 0.1, "ce": 0.1, "rce": 1.0, "reg": 0.1, "structure": 10.0}


def compare(setting: Setting) -> list[Measurement]:
    """One step at the paper's sizes; a quarter of them on the CPU, with a shortened trunk."""
    scale, width, crop, repetitions = SMALLEST, 96, (48, 32), 2
    if not setting.quick:
        gpu = setting.device.type == "cuda"
        large = gpu or setting.full
        part = 1 if large else 4
        blocks = RESNET101 if large else (1, 1, 1, 1)
        sizes = [(w // part, h // part) for w, h in ((1914, 1052), (2048, 1024))]
        scale = Scale(*sizes, blocks, width=64, batch_size=4 if gpu else 1)
        width, crop = 2200 // part, (896 // part, 512 // part)
        repetitions = 10 if gpu else 5
    views = WeakStrong(
        width=width, scale_range=[1.0, 1.0], crop=[*crop], mirror=0.5, whole=True, strong=True
    )
    pair = streets_pair(setting.folder, scale, height=64 if setting.quick else 1024)
    trainer = trainer_of(
        lambda _: denoising(scale),
        pair.augmented(views),
        scale,
        weights={f"lambda_{term}": weight for term, weight in WEIGHTS.items()},
        steps=1,
        device=setting.device,
        folder=setting.folder / "denoising",
    )
    trainer.prepare()
    batch = next(trainer.batches())
    passes = Passes(trainer, *batch)
    passes.check()
    times = side_by_side(
        partial(trainer.step, *batch, Step(0, 0.0)),
        passes.run,
        repetitions=repetitions,
        device=setting.device,
    )
    return [overhead("ProDA step", times, "at most 1.15", scale.text(trainer.bfloat16))]


def denoising(scale: Scale) -> ProDA:
    """The method as released, around its own network."""
    small = {} if scale.width == 64 else {"branch_channels": 32, "head_channels": 32}
    network = deeplabv2_cat(
        num_classes=CLASSES,
        blocks=scale.blocks,
        width=scale.width,
        initialization="he",
        **small,
    )
    return ProDA(
        network,
        rectify=True,
        min_confidence=0.0,
        hard_threshold=None,
        structure=True,
        released_shift=False,
        regularizer="mrkld",
        prototypes=None,
        prototype_temperature=1.0,
        prototype_momentum=1e-4,
        prototype_passes=4,
        count_cap=3000,
        min_pixels=10,
        ema_momentum=0.999,
        teacher_eval=False,
        teacher_dropout=True,
    )


class Passes:
    """What a step cannot do without: source and both views forward and backward, the teacher."""

    def __init__(self, trainer: Trainer, source: Source, target: Target) -> None:
        self.trainer, self.source, self.target = trainer, source, target

    def run(self) -> Tensor:
        """All of them once; returns the source's loss."""
        method, mine = self.trainer.method, self.trainer.players["segmenter"]
        method.train()
        for parameter in method.parameters():
            parameter.grad = None
        with self.trainer.precision():
            loss = cross_entropy(method.segmenter(self.source.image).main, self.source.label)
        loss.backward(inputs=mine)
        with self.trainer.precision():
            method.teacher(self.target.whole)
        for image, name in ((self.target.image, "main"), (self.target.strong, "head_feature")):
            with self.trainer.precision():
                seen = method.segmenter(image)._asdict()[name]
            seen.backward(torch.full_like(seen, GRADIENT), inputs=mine)
        return loss

    def check(self) -> None:
        """The passes see what the step sees."""
        torch.manual_seed(0)
        plain = self.run().detach()
        torch.manual_seed(0)
        values = self.trainer.step(self.source, self.target, Step(0, 0.0))
        agree("source loss of a step", values["loss/seg"], plain, tolerance=1e-3)
