"""How each family of networks expects its input."""

from __future__ import annotations

from uda_hydra.types import Normalization

NORMALIZATIONS = {
    # The Caffe heritage of AdaptSegNet and its descendants: 0..255 about the mean of ImageNet.
    "caffe": Normalization(
        "bgr", scale=1.0, mean=(104.00698793, 116.66876762, 122.67891434), std=(1.0, 1.0, 1.0)
    ),
    # VGG's own mean, with which ProCA's release feeds that network.
    "vgg": Normalization("bgr", scale=1.0, mean=(103.939, 116.779, 123.68), std=(1.0, 1.0, 1.0)),
    "torchvision": Normalization(
        "rgb", scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    ),
    # ProDA scales and does nothing else.
    "unit": Normalization("rgb", scale=1 / 255, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
    # torchvision's numbers times 255, rounded by mmsegmentation, on which DAFormer is built.
    "daformer": Normalization(
        "rgb", scale=1.0, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)
    ),
}
"""What ``model.normalization`` may name."""


def normalization(name: str) -> Normalization:
    """The entry of ``NORMALIZATIONS``."""
    if name not in NORMALIZATIONS:
        raise ValueError(
            f"model.normalization must be one of {', '.join(NORMALIZATIONS)}, got {name!r}"
        )
    return NORMALIZATIONS[name]
