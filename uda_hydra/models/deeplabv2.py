"""DeepLabV2 (Chen et al., PAMI 2018) in the forms the field trains: heads that sum their branches.

AdaptSegNet, ADVENT, CaCo, CFContra, MaxSquare, ProCA and DAFormer differ in options alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from uda_hydra.models.batch_norm import freeze, policy
from uda_hydra.models.heads import AsppSum
from uda_hydra.models.initialization import gaussian, he_out, initialize
from uda_hydra.models.normalizations import normalization as named_normalization
from uda_hydra.models.projectors import PROJECTORS
from uda_hydra.models.projectors import projector as named_projector
from uda_hydra.models.resnet import CAFFE, TORCHVISION, V1C, ResNet, ResNetLayout
from uda_hydra.models.segmenter import Segmenter
from uda_hydra.models.vgg import VGG16

LAYOUTS = {"caffe": CAFFE, "torchvision": TORCHVISION, "v1c": V1C}


def named_layout(name: str) -> ResNetLayout:
    """The entry of ``LAYOUTS``."""
    if name not in LAYOUTS:
        raise ValueError(f"model.layout must be one of {', '.join(LAYOUTS)}, got {name!r}")
    return LAYOUTS[name]


def deeplabv2(
    *,
    num_classes: int,
    blocks: Sequence[int] = (3, 4, 23, 3),
    width: int = 64,
    layout: str = "caffe",
    multi_level: bool = True,
    branches: int = 4,
    active_branches: int = 4,
    projector: str | None = None,
    train_projector: bool = False,
    normalization: str = "caffe",
    batch_norm: str = "affine_frozen",
    initialization: str = "official",
) -> Segmenter:
    """ResNet-101 by default; small ``blocks`` and ``width`` give a network for the CPU.

    ``multi_level`` adds the auxiliary head. ``batch_norm`` and ``initialization`` are entries of
    ``batch_norm.POLICIES`` and ``initialization.SCHEMES``, ``projector`` of
    ``projectors.PROJECTORS``; a projector that is not trained stays a random projection.
    """
    chosen = policy(batch_norm)
    backbone = ResNet(blocks=blocks, width=width, layout=named_layout(layout), norm=chosen.layer)
    options = {"active_branches": active_branches, "branches": branches}
    main = AsppSum(backbone.channels[3], num_classes, **options)
    aux = AsppSum(backbone.channels[2], num_classes, **options) if multi_level else None
    projection = None if projector is None else named_projector(projector, backbone.channels)
    initialize(initialization, backbone, [main, aux, projection])
    freeze(backbone, chosen)
    if projection is not None:
        projection.requires_grad_(train_projector)
    return Segmenter(
        backbone,
        main,
        aux,
        projector=projection,
        projector_reads=PROJECTORS[projector].stage if projector else 3,
        num_classes=num_classes,
        normalization=named_normalization(normalization),
    )


def deeplabv2_vgg16(
    *,
    num_classes: int,
    width: int = 64,
    active_branches: int = 4,
    normalization: str = "caffe",
) -> Segmenter:
    """DeepLabV2 on VGG-16, with one head. AdaptSegNet has 2 active branches, ProCA 4."""
    backbone = VGG16(width=width)
    head = AsppSum(backbone.channels[-1], num_classes, active_branches=active_branches)
    he_out(backbone.features)
    for layer in backbone.features:
        if isinstance(layer, nn.Conv2d):
            nn.init.zeros_(layer.bias)
    gaussian(head)
    return Segmenter(
        backbone,
        head,
        num_classes=num_classes,
        normalization=named_normalization(normalization),
    )
