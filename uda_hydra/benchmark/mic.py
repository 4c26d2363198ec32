"""A step of MIC on DACS against its bare forward and backward passes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

import uda_hydra.losses as L
from uda_hydra.benchmark.setup import (
    RESNET101,
    SMALLEST,
    Scale,
    streets_pair,
    trainer_of,
)
from uda_hydra.benchmark.step import GRADIENT
from uda_hydra.benchmark.timing import Measurement, Setting, agree, overhead, side_by_side
from uda_hydra.engine.trainer import Trainer
from uda_hydra.methods.self_training import SelfTraining
from uda_hydra.types import Source, Step, Target

OPTIONS = {
    "ema_momentum": 0.999,
    "teacher_follows": "before",
    "threshold": 0.968,
    "mirror_labels": False,
    "confidence": "batch",
    "margins": None,
    "mix": "image",
    # Colours and blur change in every step, as never in a training: what they cost at most.
    "jitter_probability": 1.0,
    "jitter_strength": 0.2,
    "blur_probability": 1.0,
    "distance_classes": None,
    "distance_share": 0.75,
    "mask_ratio": 0.7,
    "mask_block": 32,
    "mask_tokens": False,
    "detail_weight": 0.1,
    "source_mean": "all",
    "align_corners": False,
}
AUX = 0.1


def compare(setting: Setting) -> list[Measurement]:
    """One step at the paper's sizes; on the CPU with a shortened trunk unless ``full``."""
    scale, height, repetitions = replace(SMALLEST, source=SMALLEST.target), 64, 2
    if not setting.quick:
        gpu = setting.device.type == "cuda"
        blocks = RESNET101 if gpu or setting.full else (1, 1, 1, 1)
        side = 512 if gpu or setting.full else 256
        scale = Scale((side, side), (side, side), blocks, width=64, batch_size=2)
        height, repetitions = 512, 20 if gpu else 5
    weights = {f"lambda_{term}": 1.0 for term in SelfTraining.terms} | {"lambda_seg_aux": AUX}
    trainer = trainer_of(
        lambda segmenter: SelfTraining(segmenter, **OPTIONS),
        streets_pair(setting.folder, scale, height=height),
        scale,
        weights=weights,
        steps=1,
        device=setting.device,
        folder=setting.folder / "mic",
    )
    source, target = next(trainer.batches())
    plain = bare_passes(trainer, source, target).detach()
    values = trainer.step(source, target, Step(0, 0.0))
    total = values["loss/seg"] + AUX * values["loss/seg_aux"]
    agree("source loss of a step", total, plain, tolerance=1e-3)
    times = side_by_side(
        partial(trainer.step, source, target, Step(1, 0.0)),
        partial(bare_passes, trainer, source, target),
        repetitions=repetitions,
        device=setting.device,
    )
    return [overhead("MIC step", times, "at most 1.15", scale.text(trainer.bfloat16))]


def bare_passes(trainer: Trainer, source: Source, target: Target) -> Tensor:
    """The student on three batches and back, the teacher on one; returns the source's loss."""
    method, mine = trainer.method, trainer.players["segmenter"]
    for parameter in mine:
        parameter.grad = None
    how = {"over": "all", "align_corners": False}
    with trainer.precision():
        seen = method.segmenter(source.image)
        loss = L.segmentation(seen.main, source.label, **how)
        loss = loss + AUX * L.segmentation(seen.aux, source.label, **how)
    loss.backward(inputs=mine)
    with trainer.precision():
        method.teacher(target.image)
    for _ in ("mixed", "masked"):
        with trainer.precision():
            main = method.segmenter(target.image).main
        main.backward(torch.full_like(main, GRADIENT), inputs=mine)
    return loss
