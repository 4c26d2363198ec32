"""Trainings built from plain values: what ``build.py`` makes of conf/, without Hydra.

Rates and weights are the paper's, but nothing here is trained to any end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from uda_hydra.data.pair import Pair
from uda_hydra.data.pairs import streets
from uda_hydra.engine.events import Callback
from uda_hydra.engine.trainer import Trainer
from uda_hydra.errors import CONF
from uda_hydra.methods.base import Method
from uda_hydra.methods.caco import CaCo
from uda_hydra.models.deeplabv2 import deeplabv2
from uda_hydra.models.segmenter import Segmenter
from uda_hydra.settings import EvaluationSettings, OptimizerSettings, TrainerSettings

CLASSES = 19
RESNET101 = (3, 4, 23, 3)
WEIGHTS = {
    "lambda_seg": 1.0,
    "lambda_seg_aux": 0.1,
    "lambda_consistency": 1.0,
    "lambda_consistency_aux": 1.0,
    "lambda_contrast": 0.01,
}


def preset(name: str) -> dict[str, Any]:
    """The values of a file in ``conf/``."""
    return yaml.safe_load((CONF / f"{name}.yaml").read_text())


COMMON = EvaluationSettings(**preset("evaluation/common"))


@dataclass(frozen=True)
class Scale:
    """How large images, network and dictionary are; sizes are (width, height)."""

    source: tuple[int, int]
    target: tuple[int, int]
    blocks: tuple[int, int, int, int]
    width: int
    length: int = 0
    """Keys a class."""
    batch_size: int = 1

    def text(self, bfloat16: bool) -> str:
        """The trunk, both sizes and the precision."""
        full = self.blocks == RESNET101
        trunk = "ResNet-101" if full else f"SHORTENED trunk, blocks {self.blocks}"
        sizes = " + ".join(f"{width}x{height}" for width, height in (self.source, self.target))
        return f"{trunk}, {sizes}, {'bf16' if bfloat16 else 'fp32'}"


TINY = Scale((256, 141), (256, 128), (1, 1, 1, 1), width=16, length=30, batch_size=2)
"""The embedded data set with the network for the CPU."""
SMALLEST = Scale((96, 64), (96, 48), (1, 1, 1, 1), width=4, length=2)


def streets_pair(root: Path, scale: Scale, *, height: int) -> Pair:
    """Two generated images of each domain, ``height`` the target's on disk."""
    return streets(
        name="streets",
        root=str(root),
        seed=0,
        gap={},
        height=height,
        counts={"source": 2, "target": 2, "validation": 1},
        classes="cityscapes19",
        oracle=False,
        cache=False,
        cache_folder="",
        source={"layout": "gta5", "root": None, "split": "all", "size": scale.source},
        target={
            "layout": "cityscapes",
            "root": None,
            "split": "train",
            "validation": "val",
            "size": scale.target,
        },
    )


def caco_trainer(
    pair: Pair,
    scale: Scale,
    *,
    steps: int,
    device: torch.device,
    folder: Path,
    callbacks: Sequence[Callback] = (),
) -> Trainer:
    """CaCo, ready to step; every step is logged."""
    return trainer_of(
        lambda segmenter: caco(segmenter, scale.length),
        pair,
        scale,
        weights=WEIGHTS,
        steps=steps,
        device=device,
        folder=folder,
        callbacks=callbacks,
    )


def trainer_of(
    make: Callable[[Segmenter], Method],
    pair: Pair,
    scale: Scale,
    *,
    weights: dict[str, float],
    steps: int,
    device: torch.device,
    folder: Path,
    callbacks: Sequence[Callback] = (),
) -> Trainer:
    """A training of what ``make`` makes of a network; in bf16 on CUDA, as by default."""
    segmenter = deeplabv2(
        num_classes=CLASSES, blocks=scale.blocks, width=scale.width, initialization="he"
    )
    changed = {"steps": steps, "evaluate_every": steps, "save_every": steps, "log_every": 1}
    changed |= {"batch_size": scale.batch_size, "device": str(device), "workers": 0}
    return Trainer(
        make(segmenter),
        pair,
        settings=TrainerSettings(**preset("trainer/paper") | changed),
        optimizer=OptimizerSettings(**preset("optimizer/sgd")),
        evaluation=COMMON,
        weights=weights,
        seed=0,
        device=device,
        bfloat16=device.type == "cuda",
        folder=folder,
        callbacks=callbacks,
    )


def caco(segmenter: torch.nn.Module, length: int) -> CaCo:
    """The method as released, but for a second view of one size, 99 %: steps cost the same."""
    return CaCo(
        segmenter,
        ema_momentum=0.999,
        queue_length=length,
        key_threshold=0.9,
        source_keys="student",
        reliability_clamp=0.1,
        temperature=0.07,
        base_temperature=0.07,
        contrast_mean="keys",
        gate="full",
        gate_classes=None,
        scale_range=(99, 100),
        clip_norm=1.0,
    )
