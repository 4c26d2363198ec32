"""DeepLabV2 with concatenating heads: the networks of ProDA, ProCA's V3 and CaCo's vanilla."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from uda_hydra.models.aspp_cat import AsppCat
from uda_hydra.models.batch_norm import freeze, policy
from uda_hydra.models.deeplabv2 import named_layout
from uda_hydra.models.initialization import initialize
from uda_hydra.models.normalizations import normalization as named_normalization
from uda_hydra.models.resnet import ResNet
from uda_hydra.models.segmenter import Segmenter


def deeplabv2_cat(
    *,
    num_classes: int,
    blocks: Sequence[int] = (3, 4, 23, 3),
    width: int = 64,
    layout: str = "caffe",
    multi_level: bool = False,
    feat_norm: bool = False,
    branch_channels: int = 256,
    head_channels: int = 256,
    head_norm: str = "group",
    squeeze: bool = True,
    dropout: float = 0.1,
    normalization: str = "unit",
    batch_norm: str = "trained",
    initialization: str = "official",
) -> Segmenter:
    """ResNet-101 by default; ``head_channels`` are those of the feature that is classified.

    With ``multi_level``, the auxiliary head is on the third stage and the main head on the fourth
    and the third. ``feat_norm`` is ProDA's batch norm between backbone and head.
    """
    chosen = policy(batch_norm)
    backbone = ResNet(blocks=blocks, width=width, layout=named_layout(layout), norm=chosen.layer)
    *_, third, fourth = backbone.channels
    head = partial(
        AsppCat,
        num_classes=num_classes,
        branch_channels=branch_channels,
        feature_channels=head_channels,
        norm=head_norm,
        squeeze=squeeze,
        dropout=dropout,
    )
    aux = head(third) if multi_level else None
    main = head(fourth + third) if multi_level else head(fourth)
    initialize(initialization, backbone, [main, aux])
    freeze(backbone, chosen)
    norm = chosen.layer(fourth) if feat_norm else None
    if norm is not None:
        freeze(norm, chosen)
    return Segmenter(
        backbone,
        main,
        aux,
        main_reads=(3, 2) if multi_level else (3,),
        feat_norm=norm,
        num_classes=num_classes,
        normalization=named_normalization(normalization),
    )
