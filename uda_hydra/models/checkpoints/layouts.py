"""Every known layout of weight files: whose it is, and how its names correspond to ours."""

from __future__ import annotations

from uda_hydra.models.checkpoints import parts
from uda_hydra.models.checkpoints.other_layouts import CENTRES, OTHER_NETWORKS, PROTOTYPES
from uda_hydra.models.checkpoints.parts import HEADS, RESNET, TWO_HEADS, Pairs
from uda_hydra.models.checkpoints.weight_layout import Mark, WeightLayout


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

LAYOUTS = (OURS, *_CAFFE_STYLE, *_OTHERS, *_INITIALISATIONS, *OTHER_NETWORKS, *PROTOTYPES, *CENTRES)
BY_NAME = {layout.name: layout for layout in LAYOUTS}
