"""A CaCo step against nothing but the forward and backward passes that it cannot do without."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

import uda_hydra.losses as L
from uda_hydra.benchmark.setup import (
    RESNET101,
    SMALLEST,
    WEIGHTS,
    Scale,
    caco_trainer,
    streets_pair,
)
from uda_hydra.benchmark.timing import Measurement, Setting, agree, overhead, side_by_side
from uda_hydra.engine.trainer import Trainer
from uda_hydra.types import IGNORE, Prediction, Source, Step, Target

GRADIENT = 1e-6
"""Every gradient value that the second view's backward pass starts from; any costs the same."""


def compare(setting: Setting) -> list[Measurement]:
    """One step at the paper's sizes; on the CPU with a shortened trunk unless ``full``."""
    scale, height, repetitions = SMALLEST, 64, 2
    if not setting.quick:
        gpu = setting.device.type == "cuda"
        blocks = RESNET101 if gpu or setting.full else (1, 1, 1, 1)
        scale = Scale((1280, 720), (1024, 512), blocks, width=64, length=100)
        height, repetitions = 512, 20 if gpu else 3
    pair = streets_pair(setting.folder, scale, height=height)
    trainer = caco_trainer(
        pair, scale, steps=1, device=setting.device, folder=setting.folder / "step"
    )
    fill_dictionary(trainer)
    source, target = next(trainer.batches())

    cells = check(trainer, source, target)
    times = side_by_side(
        lambda: trainer.step(source, target, Step(0, 0.0)),
        lambda: bare_passes(trainer, source, target),
        repetitions=repetitions,
        device=setting.device,
    )
    return [overhead("CaCo step", times, "at most 1.15 (ResNet-101)", _note(trainer, scale, cells))]


def fill_dictionary(trainer: Trainer) -> None:
    """Put a key into every slot, so that the gate is open and the contrast counts."""
    queue = trainer.method.queue
    queue.keys.uniform_()
    queue.probability.uniform_()
    queue.probability /= queue.probability.sum(dim=2, keepdim=True)
    queue.pushed.fill_(queue.length)


def bare_passes(
    trainer: Trainer, source: Source, target: Target
) -> tuple[Prediction, Prediction, Prediction]:
    """Source forward and backward, teacher forward, second view forward and backward."""
    method, parameters = trainer.method, trainer.players["segmenter"]
    for parameter in parameters:
        parameter.grad = None
    with trainer.precision():
        seen = method.segmenter(source.image)
        loss = WEIGHTS["lambda_seg"] * cross_entropy(seen.main, source.label)
        loss = loss + WEIGHTS["lambda_seg_aux"] * cross_entropy(seen.aux, source.label)
    loss.backward(inputs=parameters)
    with trainer.precision():
        reference = method.teacher(target.image)
        view = method.segmenter(method.rescaled(target.image))
    maps = view.main, view.aux, view.features
    gradients = [torch.full_like(map, GRADIENT) for map in maps]
    torch.autograd.backward(maps, gradients, inputs=parameters)
    return seen, reference, view


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy of the upsampled logits over the labelled pixels."""
    full = F.interpolate(logits.float(), size=label.shape[-2:], mode="bilinear", align_corners=True)
    return F.cross_entropy(full, label, ignore_index=IGNORE)


def check(trainer: Trainer, source: Source, target: Target) -> int:
    """The passes predict what the step's own losses refer to; returns the target's cells."""
    seen, reference, view = bare_passes(trainer, source, target)
    plain = {
        "loss/seg": cross_entropy(seen.main, source.label),
        "loss/seg_aux": cross_entropy(seen.aux, source.label),
        "loss/consistency": L.consistency(view.main, reference.main),
        "loss/consistency_aux": L.consistency(view.aux, reference.aux),
    }
    cells = reference.main[0, 0].numel()
    del seen, reference, view
    values = trainer.step(source, target, Step(0, 0.0))
    for name, value in plain.items():
        agree(f"{name} of a step", values[name], value.detach(), tolerance=1e-3)
    if not values["loss/contrast"] > 0:
        raise RuntimeError("the contrast loss is off: the step would be timed without its backward")
    return cells


def _note(trainer: Trainer, scale: Scale, cells: int) -> str:
    queue = trainer.method.queue
    keys, channels = queue.keys.shape[0] * queue.length, queue.keys.shape[2]
    scene = scale.text(trainer.bfloat16)
    return f"{scene}, {keys} keys, {channels} channels, {cells} cells"
