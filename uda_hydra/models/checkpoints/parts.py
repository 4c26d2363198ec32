"""How the parts of a network are named in the releases, and what we call them."""

from __future__ import annotations

Pairs = tuple[tuple[str, str | None], ...]
"""Prefixes of names, theirs and ours, in the order of their state dict; the first match wins.

``{n}`` and ``{m}`` stand for digits. Where our name is None the tensor is not used.
"""

STAGES = ("layer1.", "layer2.", "layer3.", "layer4.")
HEADS = ("feat_norm.", "aux_head.", "main_head.", "scale_attention.", "projector.")
"""Our prefixes of everything that follows a backbone."""


def same(theirs: str, ours: str, *parts: str) -> Pairs:
    """Parts that have the same name after either prefix."""
    return tuple((f"{theirs}{part}", f"{ours}{part}") for part in parts)


def renamed(theirs: str, ours: str, *parts: tuple[str, str]) -> Pairs:
    """Parts that are also named differently after the two prefixes."""
    return tuple((f"{theirs}{their}", f"{ours}{our}") for their, our in parts)


RESNET = same("", "backbone.", "conv1.", "bn1.", *STAGES)
PROCA_RESNET = same("feature_extractor.backbone.", "backbone.", "conv1.", "bn1.", *STAGES)
MIT = (
    *(f"patch_embed{i}." for i in (1, 2, 3, 4)),
    *(f"{part}{i}." for i in (1, 2, 3, 4) for part in ("block", "norm")),
)
"""Parts of a Mix Transformer, whose names are ours."""
VGG_CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
"""Torchvision's indices of the convolutions; ours are the same."""


def vgg(theirs: str) -> Pairs:
    """VGG-16 without the fourth pooling layer, which torchvision's indices still count."""
    features = ((f"{i - (i > 23)}.", f"features.{i}.") for i in VGG_CONVOLUTIONS)
    return renamed(theirs, "backbone.", *features, ("29.", "fc6."), ("31.", "fc7."))


def aspp_sum(theirs: str, ours: str) -> Pairs:
    """Names of a head whose convolutions give logits directly."""
    return renamed(theirs, ours, ("conv2d_list.{n}.", "branches.{n}."))


def aspp_cat(theirs: str, ours: str, *, squeeze: bool = True) -> Pairs:
    """Names of a head with concatenated branches; ``squeeze`` adds squeeze and excitation."""
    branches = (
        ("conv2d_list.{n}.0.", "branches.{n}.conv."),
        ("conv2d_list.{n}.1.", "branches.{n}.norm."),
    )
    excitation = (("bottleneck.0.se.0.", "se.fc1."), ("bottleneck.0.se.2.", "se.fc2."))
    first = 1 if squeeze else 0
    return renamed(
        theirs,
        ours,
        *branches,
        *(excitation if squeeze else ()),
        (f"bottleneck.{first}.", "fuse.conv."),
        (f"bottleneck.{first + 1}.", "fuse.norm."),
        ("head.1.", "classifier."),
    )


TWO_HEADS = (*RESNET, *aspp_sum("layer5.", "aux_head."), *aspp_sum("layer6.", "main_head."))


def projector(*theirs: str, ours: tuple[str, ...] = ("fc1.", "norm1.", "fc2.", "norm2.")) -> Pairs:
    """Names of a projector's layers in order; ``ours`` may be longer than ``theirs``."""
    return renamed("", "projector.", *zip(theirs, ours, strict=False))


DEEPLAB_V3PLUS = (
    *(
        pair
        for i in range(4)
        for pair in renamed(
            f"aspp.aspp{i + 1}.",
            f"main_head.aspp.branches.{i}.",
            ("atrous_conv.", "conv."),
            ("bn.", "norm."),
        )
    ),
    *renamed(
        "aspp.",
        "main_head.aspp.",
        ("global_avg_pool.1.", "pool.conv."),
        ("global_avg_pool.2.", "pool.norm."),
        ("conv1.", "fuse.conv."),
        ("bn1.", "fuse.norm."),
    ),
    *renamed(
        "decoder.",
        "main_head.",
        ("conv1.", "low.conv."),
        ("bn1.", "low.norm."),
        ("last_conv.0.", "refine.0.conv."),
        ("last_conv.1.", "refine.0.norm."),
        ("last_conv.4.", "refine.1.conv."),
        ("last_conv.5.", "refine.1.norm."),
        ("last_conv.8.", "classifier."),
    ),
)

_SEPARABLE = tuple(
    (f"aspp_modules.{{n}}.{part}_conv.{theirs}.", f"branches.{{n}}.{part}.{ours}.")
    for part in ("depthwise", "pointwise")
    for theirs, ours in (("conv", "conv"), ("bn", "norm"))
)
_FUSED = (
    ("aspp_modules.0.conv.", "branches.0.conv."),
    ("aspp_modules.0.bn.", "branches.0.norm."),
    *_SEPARABLE,
    ("bottleneck.conv.", "bottleneck.conv."),
    ("bottleneck.bn.", "bottleneck.norm."),
)


def fusing(theirs: str, ours: str, *fused: tuple[str, str]) -> Pairs:
    """Names of DAFormer's head, whose fusion has parts of its own."""
    return (
        (f"{theirs}conv_seg.", f"{ours}classifier."),
        (f"{theirs}embed_layers.{{n}}.proj.", f"{ours}embed.{{n}}."),
        *renamed(f"{theirs}fuse_layer.", f"{ours}fuse.", *fused),
    )


DAFORMER = fusing("decode_head.", "main_head.", *_FUSED)
HRDA = (
    *fusing("decode_head.head.", "main_head.", *_FUSED),
    *fusing(
        "decode_head.scale_attention.", "scale_attention.", ("conv.", "conv."), ("bn.", "norm.")
    ),
)
SEGFORMER = (
    ("decode_head.conv_seg.", None),  # made by a base class and never used
    *renamed(
        "decode_head.",
        "main_head.",
        ("linear_c.{n}.proj.", "embed.{n}."),
        ("linear_fuse.conv.", "fuse.conv."),
        ("linear_fuse.bn.", "fuse.norm."),
        ("linear_pred.", "classifier."),
    ),
)


def fully_convolutional(theirs: str) -> Pairs:
    """Names of a discriminator with four convolutions and a classifier."""
    convolutions = ((f"conv{i + 1}.", f"convs.{i}.") for i in range(4))
    return renamed(theirs, "", *convolutions, ("classifier.", "classifier."))


MULTI_SCALE = renamed(
    "cnns.{n}.",
    "scales.{n}.",
    ("{m}.conv.", "down.{m}."),
    *((f"{5 + i}.model.{{m}}.conv.", f"res.{i}.{{m}}.") for i in range(4)),
    ("9.", "out."),
)
