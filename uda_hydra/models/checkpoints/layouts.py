"""Every known layout of weight files: whose it is, and how its names correspond to ours."""

from __future__ import annotations

from typing import NamedTuple

from uda_hydra.models.checkpoints import parts
from uda_hydra.models.checkpoints.parts import HEADS, RESNET, TWO_HEADS, Pairs


class Mark(NamedTuple):
    """A tensor's size that distinguishes a layout from another with the same names."""

    name: str
    dimension: int
    size: int


class WeightLayout(NamedTuple):
    """How one family of files names its tensors."""

    name: str
    """The name that ``layout=`` takes."""
    title: str
    """The project that writes such files."""
    pairs: Pairs
    optional: tuple[str, ...] = ()
    """Prefixes of theirs that a file may lack."""
    container: str = "flat"
    """The structure that the official code wraps them in: a name in ``containers``."""
    may_be_missing: tuple[str, ...] = ("projector.",)
    """Prefixes of our names that may stay as initialised when such a file is loaded."""
    mark: Mark | None = None
    take: str = "segmenter."
    """Prefix of what is written in this layout, among the names of a method's checkpoint."""


def _initialisation(
    name: str, title: str, pairs: Pairs, *unused: str, mark: Mark | None = None
) -> WeightLayout:
    """Initial weights of a backbone; ``unused`` are the prefixes of another task's head."""
    more = (*pairs, *((prefix, None) for prefix in unused))
    optional = () if mark else unused
    return WeightLayout(name, title, more, optional=optional, may_be_missing=HEADS, mark=mark)


OURS = WeightLayout(
    "uda_hydra",
    "a network of uda_hydra",
    (*parts.same("", "", "backbone.", *HEADS), ("unused.", None)),
    optional=("feat_norm.", "aux_head.", "scale_attention.", "projector.", "unused."),
    container="uda_hydra",
)
WRITTEN_HERE = OURS._replace(pairs=(("unused.", None), ("", "")))
"""The layout of files marked as ours: every name is accepted, a discriminator's too."""
_FULLY_CONNECTED = ("backbone.fc6.", "backbone.fc7.")
BACKBONE_WRITTEN_HERE = WRITTEN_HERE._replace(may_be_missing=(*HEADS, *_FULLY_CONNECTED))
"""The same for files that hold the initial weights of a backbone."""

# Snapshots of networks on a Caffe-style ResNet. Of layouts that a file's names and sizes cannot
# tell apart, the first in its container is taken.
_CAFFE_STYLE = (
    WeightLayout("advent", "ADVENT, AdaptSegNet, CaCo or CFContra with two heads", TWO_HEADS),
    WeightLayout("adaptseg_multi", "AdaptSegNet with two heads", TWO_HEADS),
    WeightLayout("caco", "CaCo", TWO_HEADS),
    WeightLayout("cfcontra_none", "CFContra without projector", TWO_HEADS),
    WeightLayout("maxsquare", "MaxSquare or Adversarial-DA-Exp", TWO_HEADS, container="maxsquare"),
    WeightLayout(
        "advent_single",
        "ADVENT with one head",
        (*RESNET, *parts.aspp_sum("layer6.", "main_head.")),
    ),
    # A classifier of PASCAL VOC's 21 classes marks the initialisation; before adaptseg_single,
    # whose names it has.
    _initialisation(
        "pretrained_init",
        "DeepLab initialisation",
        RESNET,
        "layer5.",
        mark=Mark("layer5.conv2d_list.0.bias", 0, 21),
    ),
    WeightLayout(
        "adaptseg_single",
        "AdaptSegNet with one head",
        (*RESNET, *parts.aspp_sum("layer5.", "main_head.")),
    ),
    WeightLayout(
        "cfcontra_moco",
        "CFContra with MoCo's projector",
        (*TWO_HEADS, *parts.projector("head.0.", "head.2.", ours=("fc1.", "fc2."))),
    ),
    WeightLayout(
        "cfcontra_simclr",
        "CFContra with SimCLR's projector",
        (*TWO_HEADS, *parts.projector("head.0.", "head.1.", "head.3.", "head.4.")),
    ),
    WeightLayout(
        "cfcontra_byol",
        "CFContra with BYOL's projector",
        (*TWO_HEADS, *parts.projector("head.0.", "head.1.", "head.3.")),
    ),
    WeightLayout(
        "cfcontra_linear",
        "CFContra with a linear projector",
        (
            *TWO_HEADS,
            *parts.renamed("head.", "projector.fc.", ("weight", "weight"), ("bias", "bias")),
        ),
    ),
    WeightLayout(
        "cacovan_advent_projector",
        "CaCo-vanilla with projector",
        (
            *TWO_HEADS,
            *parts.projector("projector_1.linear1.", "projector_1.bn1.", "projector_1.linear2."),
        ),
    ),
    WeightLayout(
        "cacovan_gn_se",
        "CaCo-vanilla's DeeplabMulti with squeeze and excitation",
        (
            *RESNET,
            *parts.aspp_cat("layer5.", "aux_head."),
            *parts.aspp_cat("layer6.", "main_head."),
        ),
    ),
    WeightLayout(
        "cacovan_bn",
        "CaCo-vanilla's DeeplabMulti",
        (
            *RESNET,
            *parts.aspp_cat("layer5.", "aux_head.", squeeze=False),
            *parts.aspp_cat("layer6.", "main_head.", squeeze=False),
        ),
    ),
    WeightLayout(
        "proda",
        "ProDA",
        (*RESNET, *parts.aspp_cat("layer5.", "main_head."), ("bn_pretrain.", "feat_norm.")),
        optional=("bn_pretrain.",),
        container="proda",
    ),
)

_MIT = parts.same("backbone.", "backbone.", *parts.MIT)
_OTHERS = (
    WeightLayout(
        "adaptseg_vgg16",
        "AdaptSegNet on VGG-16",
        (*parts.vgg("features."), *parts.aspp_sum("classifier.", "main_head.")),
    ),
    WeightLayout(
        "proca_vgg16",
        "ProCA on VGG-16",
        (
            *parts.vgg("feature_extractor.backbone."),
            *parts.aspp_sum("classifier.", "main_head."),
        ),
        container="proca",
    ),
    WeightLayout(
        "proca",
        "ProCA",
        (*parts.PROCA_RESNET, *parts.aspp_sum("classifier.", "main_head.")),
        container="proca",
    ),
    WeightLayout(
        "proca_v3head",
        "ProCA with ProDA's head",
        (*parts.PROCA_RESNET, *parts.aspp_cat("classifier.", "main_head.")),
        container="proca",
    ),
    WeightLayout(
        "ybao_v3plus",
        "Adversarial-DA-Exp's DeepLabV3+",
        (("backbone.", "backbone."), *parts.DEEPLAB_V3PLUS),
        container="maxsquare",
    ),
    WeightLayout(
        "daformer_dlv2",
        "DAFormer's DeepLabV2",
        (
            ("backbone.", "backbone."),
            ("decode_head.aspp_modules.{n}.conv.", "main_head.branches.{n}."),
        ),
        container="mmseg",
    ),
    WeightLayout(
        "daformer",
        "DAFormer",
        (*_MIT, *parts.DAFORMER),
        container="mmseg",
    ),
    WeightLayout(
        "hrda",
        "HRDA or MIC",
        (*_MIT, *parts.HRDA),
        container="mmseg",
    ),
    WeightLayout(
        "segformer",
        "SegFormer in DAFormer's code",
        (*_MIT, *parts.SEGFORMER),
        optional=("decode_head.conv_seg.",),
        container="mmseg",
    ),
)

_INITIALISATIONS = (
    _initialisation(
        "torchvision_resnet",
        "torchvision's ResNet or SimCLR",
        (*RESNET, ("bn_pretrain.", "feat_norm.")),
        "fc.",
    )._replace(optional=("bn_pretrain.", "fc.")),
    _initialisation(
        "resnet_v1c",
        "ResNet with three convolutions in its stem",
        parts.same("", "backbone.", "stem.", *parts.STAGES),
        "fc.",
    ),
    _initialisation(
        "vgg16",
        "VGG-16 initialisation",
        parts.same("features.", "backbone.features.", *(f"{i}." for i in parts.VGG_CONVOLUTIONS)),
        "classifier.",
    )._replace(may_be_missing=(*HEADS, *_FULLY_CONNECTED)),
    _initialisation(
        "mit", "Mix Transformer initialisation", parts.same("", "backbone.", *parts.MIT), "head."
    ),
)

_PROCA_PROTOTYPES = WeightLayout(
    "proca_prototypes_feat",
    "ProCA's prototypes",
    (("Proto", "mean"), ("Amount", "count")),
    container="proca_prototypes",
    take="prototypes.feat.",
)
"""Of the features; its file of the logits' prototypes has the same names."""
_OTHER_FILES = (
    _PROCA_PROTOTYPES,
    _PROCA_PROTOTYPES._replace(name="proca_prototypes_out", take="prototypes.out."),
)

_VGG_TO_RELU4_1 = (0, 2, 5, 9, 12, 16, 19, 22, 25, 29)
_VGG_BEYOND = (32, 35, 38, 42, 45, 48, 51)
"""Indices of convolutions in the normalised VGG-19: those of the encoder, and those after it."""
_OTHER_NETWORKS = (
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

LAYOUTS = (OURS, *_CAFFE_STYLE, *_OTHERS, *_INITIALISATIONS, *_OTHER_NETWORKS, *_OTHER_FILES)
BY_NAME = {layout.name: layout for layout in LAYOUTS}
