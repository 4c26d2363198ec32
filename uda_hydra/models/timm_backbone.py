"""A network of timm, convolutional or a vision transformer, as a backbone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import timm
import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.layers import BatchNormAct2d, freeze_batch_norm_2d
from timm.models import group_parameters, is_model_in_modules
from torch import Tensor, nn

from uda_hydra.errors import UserError, nearest
from uda_hydra.models.backbone import Backbone
from uda_hydra.models.batch_norm import FixedBatchNorm, Policy, StillBatchNorm, freeze
from uda_hydra.models.checkpoints.timm import timm_layout
from uda_hydra.models.checkpoints.weight_layout import WeightLayout
from uda_hydra.models.depthwise import speed_up_depthwise
from uda_hydra.models.tokens import hide
from uda_hydra.types import Normalization

TRANSFORMERS = ("vision_transformer", "deit", "eva")
"""timm's modules of plain transformers, whose maps are all on the grid of the patches."""
STAGES = 4


class TimmBackbone(Backbone):
    """The network ``name`` of timm without its classifier: ``net``, under timm's own names.

    The stages of a convolutional network are its last four maps, of which the first has stride 4
    as a rule and the last ``output_stride`` (16 if None). Those of a transformer are the outputs of
    four evenly spaced blocks, each through the last norm, at the stride of its patches. It sees an
    image resized up to whole patches, so that the grid covers the image exactly, and its position
    embedding is interpolated to the grid.

    ``drop_path`` is the share of images that skip the last block in training. An image is seen at
    ``magnify`` times its size. With a ``mask_token`` a transformer can hide tokens, see ``hiding``.
    """

    def __init__(
        self,
        name: str,
        *,
        output_stride: int | None,
        drop_path: float,
        batch_norm: Policy,
        magnify: float = 1.0,
        mask_token: bool = False,
    ) -> None:
        super().__init__(())
        if not timm.is_model(name):
            close = nearest(name.partition(".")[0], timm.list_models())
            raise ValueError(f"model.backbone={name} is not a network of timm{close}")
        try:
            timm.get_pretrained_cfg(name)
        except RuntimeError as error:
            tags = ", ".join(timm.list_pretrained(name.partition(".")[0] + ".*")) or "no tag"
            raise ValueError(f"model.backbone={name}: timm has {tags}") from error
        if not 0 <= drop_path < 1:
            raise ValueError(f"model.drop_path must be in [0, 1), got {drop_path}")
        self.name = name
        options = {"drop_path_rate": drop_path} if drop_path else {}
        transformer = is_model_in_modules(name, TRANSFORMERS)
        build = _transformer if transformer else _convolutional
        self.net = build(name, output_stride, options)
        speed_up_depthwise(self.net)
        features = self.net.feature_info
        if len(features) < STAGES:
            raise ValueError(
                f"model.backbone={name} has {len(features)} maps and the heads read {STAGES}; "
                "choose another"
            )
        every = len(features) // STAGES if transformer else 1
        chosen = [len(features) - 1 - every * i for i in reversed(range(STAGES))]
        self.channels = tuple(features[i]["num_chs"] for i in chosen)
        self.strides = tuple(features[i]["reduction"] for i in chosen)
        """Pixels per cell of the stages."""
        self.patch = self.strides[0] if transformer else 1
        self.indices = self.net.prune_intermediate_layers(chosen, prune_norm=not transformer)
        if magnify <= 0:
            raise ValueError(f"model.magnify must be positive, got {magnify}")
        self.magnify = magnify
        self.hidden_share = 0.0
        if mask_token:
            if not transformer:
                raise ValueError(f"model.mask_token must be false: {name} is no transformer")
            self.mask_token = nn.Parameter(torch.zeros(self.channels[-1]))
            self.net.patch_embed.register_forward_hook(self._hide)
        if batch_norm.layer is StillBatchNorm:
            _still(self.net)
        elif batch_norm.layer is FixedBatchNorm:
            # The epsilon stays the network's own; ProCA's has none.
            self.net = freeze_batch_norm_2d(self.net)
        freeze(self.net, batch_norm)

    @property
    def normalization(self) -> Normalization:
        """How the images were normalised that the network's weights come from."""
        known = self.net.pretrained_cfg
        return Normalization("rgb", 1 / 255, mean=known["mean"], std=known["std"])

    @property
    def checkpointing(self) -> bool:
        """Recompute each block in the backward pass, by timm's own switch."""
        return self._checkpointing

    @checkpointing.setter
    def checkpointing(self, value: bool) -> None:
        self._checkpointing = value
        if not value:
            # As the base class begins, before there is a network; it is never switched off again.
            return
        try:
            self.net.set_grad_checkpointing(True)
        except (AttributeError, AssertionError) as error:
            raise UserError(
                f"trainer.activation_checkpointing must be false: {self.name} does not offer it"
            ) from error
        for norm in self.net.modules():
            if isinstance(norm, nn.BatchNorm2d):
                once = partial(self._count_once, momentum=norm.momentum)
                norm.register_forward_pre_hook(once)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The maps of the four stages."""
        wanted = (int(side * self.magnify) for side in image.shape[2:])
        size = [-(-side // self.patch) * self.patch for side in wanted]
        if size != [*image.shape[2:]]:
            image = F.interpolate(image, size, mode="bilinear", align_corners=False)
        self._forward = True
        maps = self.net.forward_intermediates(
            image, indices=self.indices, norm=self.patch > 1, intermediates_only=True
        )
        self._forward = False
        return tuple(maps)

    @contextmanager
    def hiding(self, share: float) -> Iterator[None]:
        """While entered, about this share of an image's tokens are replaced by the mask token."""
        self.hidden_share = share
        try:
            yield
        finally:
            self.hidden_share = 0.0

    def _hide(self, _: nn.Module, __: tuple[Tensor], tokens: Tensor) -> Tensor | None:
        """After the embedding of patches; None leaves the tokens as they are."""
        if not self.hidden_share:
            return None
        scores = torch.rand(tokens.shape[:-1], device=tokens.device)
        return hide(tokens, scores, self.mask_token, share=self.hidden_share)

    def depths(self) -> dict[nn.Parameter, int]:
        """How many blocks, as timm groups them, an image has passed behind each parameter."""
        layers = group_parameters(self.net, self.net.group_matcher(coarse=False), reverse=True)
        depths = {parameter: layers[name] for name, parameter in self.net.named_parameters()}
        return depths if self.mask_token is None else {self.mask_token: 0, **depths}

    def layout(self, tensors: Mapping[str, Tensor]) -> WeightLayout | None:
        """How a file of timm's or of a package names this network's weights; None if neither."""
        with torch.device("meta"):
            whole = timm.create_model(self.name).state_dict()
        return timm_layout(self.name, whole, [*self.net.state_dict()], tensors)

    def _count_once(self, norm: nn.BatchNorm2d, _: tuple[Tensor], *, momentum: float) -> None:
        """Before a batch norm: what the backward pass computes again must not count twice."""
        norm.momentum = momentum if self._forward else 0.0
        if norm.training and not self._forward:
            norm.num_batches_tracked -= 1


def _convolutional(name: str, output_stride: int | None, options: dict[str, Any]) -> nn.Module:
    stride = 16 if output_stride is None else output_stride
    if stride not in (8, 16, 32):
        raise ValueError(f"model.output_stride must be 8, 16 or 32, got {stride}")
    try:
        net = timm.create_model(name, num_classes=0, output_stride=stride, **options)
    except (TypeError, AssertionError):
        # What it does not know or does not want; said below.
        net = timm.create_model(name, num_classes=0, **options)
    offered = net.feature_info[-1]["reduction"]
    if offered != stride:
        raise ValueError(
            f"model.backbone={name} offers output stride {offered} alone, not {stride}; "
            f"set model.output_stride={offered} or choose another backbone"
        )
    if net.pretrained_cfg["fixed_input_size"]:
        size = net.pretrained_cfg["input_size"]
        raise ValueError(
            f"model.backbone={name} sees images of {size[1]}x{size[2]} alone; choose another"
        )
    return net


def _transformer(name: str, output_stride: int | None, options: dict[str, Any]) -> nn.Module:
    net = timm.create_model(name, num_classes=0, dynamic_img_size=True, **options)
    patch = net.feature_info[-1]["reduction"]
    if output_stride not in (None, patch):
        raise ValueError(
            f"model.backbone={name} has patches of {patch} pixels and no other output stride; "
            "set model.output_stride=null"
        )
    return net


class StillBatchNormAct(StillBatchNorm, BatchNormAct2d):
    """timm's batch norm with an activation, which uses its running statistics in training too."""


STILL = {nn.BatchNorm2d: StillBatchNorm, BatchNormAct2d: StillBatchNormAct}


def _still(net: nn.Module) -> None:
    """Give every batch norm the class that never leaves eval mode; nothing else changes."""
    for module in net.modules():
        if type(module) in STILL:
            module.__class__ = STILL[type(module)]
            module.eval()
