"""DeepLabV2 on a ResNet, as AdaptSegNet, ADVENT and CaCo train it. Chen et al., PAMI 2018."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from uda_hydra.models.heads import AsppSum
from uda_hydra.models.normalizations import normalization as named_normalization
from uda_hydra.models.resnet import CAFFE, TORCHVISION, ResNet
from uda_hydra.models.segmenter import Segmenter

LAYOUTS = {"caffe": CAFFE, "torchvision": TORCHVISION}


def deeplabv2(
    *,
    num_classes: int,
    blocks: Sequence[int] = (3, 4, 23, 3),
    width: int = 64,
    layout: str = "caffe",
    multi_level: bool = True,
    active_branches: int = 4,
    normalization: str = "caffe",
    train_affine: bool = False,
    init: str = "official",
) -> Segmenter:
    """ResNet-101 by default; small ``blocks`` and ``width`` give a network for the CPU.

    ``multi_level`` adds the auxiliary head. ``train_affine=False`` freezes the scale and shift of
    every batch norm while its statistics stay those of the batch. ``init`` is "official" (to be
    overwritten by ImageNet weights) or "he" (to train from nothing).
    """
    if layout not in LAYOUTS:
        raise ValueError(f"model.layout must be one of {', '.join(LAYOUTS)}, got {layout!r}")
    if init not in ("official", "he"):
        raise ValueError(f"model.init must be official or he, got {init!r}")
    backbone = ResNet(blocks=blocks, width=width, layout=LAYOUTS[layout])
    main_channels, aux_channels = backbone.channels[3], backbone.channels[2]
    main = AsppSum(main_channels, num_classes, active_branches=active_branches)
    aux = None
    if multi_level:
        aux = AsppSum(aux_channels, num_classes, active_branches=active_branches)
    if init == "official":
        _gaussian(backbone, main, aux)
    else:
        _he(backbone)
    if not train_affine:
        freeze_affine(backbone)
    return Segmenter(
        backbone,
        main,
        aux,
        num_classes=num_classes,
        normalization=named_normalization(normalization),
    )


def freeze_affine(module: nn.Module) -> None:
    """Keep scale and shift of every batch norm in ``module`` as they are."""
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            child.requires_grad_(False)


def _gaussian(*modules: nn.Module | None) -> None:
    for module in modules:
        for conv in _convolutions(module):
            nn.init.normal_(conv.weight, std=0.01)


def _he(backbone: nn.Module) -> None:
    for conv in _convolutions(backbone):
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")


def _convolutions(module: nn.Module | None) -> list[nn.Conv2d]:
    children = () if module is None else module.modules()
    return [child for child in children if isinstance(child, nn.Conv2d)]
