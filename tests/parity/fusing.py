"""DAFormer's head and HRDA's attention at a reference's widths, and our names of their parts."""

from __future__ import annotations

from torch import Tensor, nn

from tests.parity.official_networks import renamed
from uda_hydra.models.blocks import ConvNorm
from uda_hydra.models.daformer import FusingHead, SeparableAspp


def fusing_head(weights: dict[str, Tensor], prefix: str = "") -> FusingHead:
    """A head for the weights whose names begin with ``prefix``, without dropout."""
    own = {k.removeprefix(prefix): w for k, w in weights.items() if k.startswith(prefix)}
    embeds = [own[f"embed_layers.{i}.proj.weight"] for i in range(4)]
    channels, joined = len(embeds[0]), sum(len(one) for one in embeds)
    classes, out = own["conv_seg.weight"].shape[:2]
    attention = "fuse_layer.conv.weight" in own
    fuse = ConvNorm(joined, out) if attention else SeparableAspp(joined, out)
    widths = [one.shape[1] for one in embeds]
    head = FusingHead(widths, classes, channels=channels, fuse=fuse, dropout=0.0)
    head.classifier = nn.Conv2d(out, classes, 1)
    return head


def named(official: str) -> str:
    """Our name of an entry of a whole network, at one scale or two."""
    official = official.replace("decode_head.head.", "decode_head.")
    if ".scale_attention." not in official:
        return renamed("daformer", official)
    own = official.removeprefix("decode_head.scale_attention.")
    return f"scale_attention.{named_in_head(own)}"


def named_in_head(official: str) -> str:
    """Our name of an entry of DAFormer's head or HRDA's attention alone."""
    attention = official.startswith(("fuse_layer.conv.", "fuse_layer.bn."))
    if attention:
        official = official.replace("fuse_layer.", "fuse_layer.bottleneck.")
    ours = renamed("daformer", f"decode_head.{official}").removeprefix("main_head.")
    return ours.replace("bottleneck.", "") if attention else ours
