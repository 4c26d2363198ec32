"""Layouts of files beside segmenters: discriminators, heads, style transfer, class means."""

from __future__ import annotations

from uda_hydra.models.checkpoints import parts
from uda_hydra.models.checkpoints.weight_layout import Mark, WeightLayout

_PROCA_PROTOTYPES = WeightLayout(
    "proca_prototypes_feat",
    "ProCA's prototypes",
    (("Proto", "mean"), ("Amount", "count")),
    container="proca_prototypes",
    take="prototypes.feat.",
)
"""Of the features; its file of the logits' prototypes has the same names."""
PROTOTYPES = (
    _PROCA_PROTOTYPES,
    _PROCA_PROTOTYPES._replace(name="proca_prototypes_out", take="prototypes.out."),
)

_CFCONTRA_CENTRES = WeightLayout(
    "cfcontra_centres_source",
    "CFContra's class centres",
    (("centres", "centres"),),
    container="cfcontra_centres",
    take="source_memory.",
)
"""Of the source; the array of the target's looks the same."""
CENTRES = (
    _CFCONTRA_CENTRES,
    _CFCONTRA_CENTRES._replace(name="cfcontra_centres_target", take="target_memory."),
)

_VGG_TO_RELU4_1 = (0, 2, 5, 9, 12, 16, 19, 22, 25, 29)
_VGG_BEYOND = (32, 35, 38, 42, 45, 48, 51)
"""Indices of convolutions in the normalised VGG-19: those of the encoder, and those after it."""
OTHER_NETWORKS = (
    WeightLayout(
        "disc_adaptseg_fc",
        "AdaptSegNet's discriminator",
        parts.fully_convolutional(""),
        mark=Mark("conv1.weight", 3, 4),
    ),
    WeightLayout(
        "disc_proda_fc",
        "ProDA's discriminator",
        parts.fully_convolutional(""),
        optional=("conv4.",),
    ),
    WeightLayout(
        "disc_proda_class",
        "ProDA's discriminator of classes",
        parts.fully_convolutional("discriminator."),
    ),
    WeightLayout(
        "disc_advent_fc",
        "ADVENT's discriminator",
        (*((f"{2 * i}.", f"convs.{i}.") for i in range(4)), ("8.", "classifier.")),
    ),
    WeightLayout(
        "disc_proca_pixel",
        "ProCA's discriminator",
        (("D.0.", "conv1."), ("D.2.", "conv2."), ("cls1.", "src."), ("cls2.", "tgt.")),
    ),
    WeightLayout("disc_cacovan_ms", "CaCo-vanilla's multi-scale discriminator", parts.MULTI_SCALE),
    WeightLayout(
        "proca_projhead_convmlp",
        "ProCA's projection head",
        parts.projector("proj.0.", "proj.1.", "proj.3."),
    ),
    WeightLayout(
        "proca_projhead_linear",
        "ProCA's projection head of one layer",
        parts.renamed("proj.", "projector.fc.", ("weight", "weight"), ("bias", "bias")),
    ),
    WeightLayout(
        "cfcontra_decoder",
        "CFContra's image decoder",
        tuple((f"{j}.", f"convs.{i}.") for i, j in enumerate((1, 5, 8, 11, 14, 18, 21, 25, 28))),
    ),
    WeightLayout(
        "adain_encoder",
        "the normalised VGG-19 of AdaIN",
        (
            *((f"{j}.", f"convs.{i}.") for i, j in enumerate(_VGG_TO_RELU4_1)),
            *((f"{j}.", None) for j in _VGG_BEYOND),
        ),
        optional=tuple(f"{j}." for j in _VGG_BEYOND),
    ),
)
