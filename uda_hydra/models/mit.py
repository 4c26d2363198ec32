"""Mix Transformer, the backbone of SegFormer and DAFormer. Xie et al., NeurIPS 2021.

Inside, maps have their channels last, (b, h, w, c), as linear layers and layer norm want them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from uda_hydra.models.backbone import Backbone

Grid = Float[Tensor, "b h w c"]
HEADS = (1, 2, 5, 8)
REDUCTIONS = (8, 4, 2, 1)
"""By stage: how much coarser the map of keys and values is."""
MLP_RATIO = 4


class Size(NamedTuple):
    """Channels and number of blocks of the stages."""

    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]


_WIDE = (64, 128, 320, 512)
SIZES = {
    "b0": Size((32, 64, 160, 256), (2, 2, 2, 2)),
    "b1": Size(_WIDE, (2, 2, 2, 2)),
    "b2": Size(_WIDE, (3, 4, 6, 3)),
    "b3": Size(_WIDE, (3, 4, 18, 3)),
    "b4": Size(_WIDE, (3, 8, 27, 3)),
    "b5": Size(_WIDE, (3, 6, 40, 3)),
    # Not of the paper: B0 with one block a stage, for tests and for small machines.
    "tiny": Size((32, 64, 160, 256), (1, 1, 1, 1)),
}
"""What ``model.size`` may name."""


class PatchEmbedding(nn.Module):
    """A strided convolution whose patches overlap, then layer norm."""

    def __init__(self, channels: int, width: int, *, kernel: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, kernel, stride=stride, padding=kernel // 2)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b h2 w2 d"]:
        """The patches, channels last."""
        return self.norm(self.proj(x).permute(0, 2, 3, 1))


class Attention(nn.Module):
    """Attention whose queries are all cells, and whose keys and values are a coarser map's."""

    def __init__(self, width: int, *, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)
        self.sr = None
        if reduction > 1:
            self.sr = nn.Conv2d(width, width, reduction, stride=reduction)
            self.norm = nn.LayerNorm(width)

    def forward(self, x: Grid) -> Grid:
        """The attended values, one for every cell."""
        batch, height, width, channels = x.shape
        coarse = x
        if self.sr is not None:
            coarse = self.norm(self.sr(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        query = self._per_head(self.q(x))
        key, value = (self._per_head(part) for part in self.kv(coarse).chunk(2, dim=-1))
        attended = F.scaled_dot_product_attention(query, key, value)
        return self.proj(attended.transpose(1, 2).reshape(batch, height, width, channels))

    def _per_head(self, x: Grid) -> Float[Tensor, "b heads n d"]:
        return x.flatten(1, 2).unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Depthwise(nn.Module):
    """A 3x3 convolution of each channel alone, which encodes position."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, x: Grid) -> Grid:
        """The map convolved."""
        return self.dwconv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class MixFFN(nn.Module):
    """Linear layer, depthwise convolution, GELU, linear layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, MLP_RATIO * width)
        self.dwconv = Depthwise(MLP_RATIO * width)
        self.fc2 = nn.Linear(MLP_RATIO * width, width)

    def forward(self, x: Grid) -> Grid:
        """What the block adds to each cell."""
        return self.fc2(F.gelu(self.dwconv(self.fc1(x))))


class Block(nn.Module):
    """Attention and feed-forward, each with a shortcut and dropped at random (drop path)."""

    def __init__(self, width: int, *, heads: int, reduction: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads=heads, reduction=reduction)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MixFFN(width)
        self.drop_path = drop_path

    def forward(self, x: Grid) -> Grid:
        """The refined cells."""
        x = x + self._drop_path(self.attn(self.norm1(x)))
        return x + self._drop_path(self.mlp(self.norm2(x)))

    def _drop_path(self, x: Grid) -> Grid:
        """In training, 0 for some images; the others are scaled so that the expectation stays."""
        if not self.training or self.drop_path == 0:
            return x
        keep = 1 - self.drop_path
        return x * (torch.rand(len(x), 1, 1, 1, device=x.device) < keep).to(x.dtype) / keep


class MixTransformer(Backbone):
    """Four stages at strides 4, 8, 16 and 32; names as in the released weights."""

    random: ClassVar[bool] = True

    def __init__(
        self, *, widths: Sequence[int], depths: Sequence[int], drop_path: float = 0.1
    ) -> None:
        if not 0 <= drop_path < 1:
            raise ValueError(f"model.drop_path must be in [0, 1), got {drop_path}")
        super().__init__(widths)
        rates = iter(torch.linspace(0, drop_path, sum(depths), device="cpu").tolist())
        embeddings, stages, norms = [], [], []
        for i, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            kernel, stride = (3, 2) if i else (7, 4)
            channels = widths[i - 1] if i else 3
            embeddings.append(PatchEmbedding(channels, width, kernel=kernel, stride=stride))
            options = {"heads": HEADS[i], "reduction": REDUCTIONS[i]}
            blocks = (Block(width, drop_path=next(rates), **options) for _ in range(depth))
            stages.append(nn.ModuleList(blocks))
            norms.append(nn.LayerNorm(width, eps=1e-6))
        self.patch_embed1, self.patch_embed2, self.patch_embed3, self.patch_embed4 = embeddings
        self.block1, self.block2, self.block3, self.block4 = stages
        self.norm1, self.norm2, self.norm3, self.norm4 = norms

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The maps of the four stages, channels first."""
        maps, x = [], image
        for embedding, blocks, norm in self._stages():
            x = norm(self.run(blocks, embedding(x))).permute(0, 3, 1, 2)
            maps.append(x)
        return tuple(maps)

    def in_order(self) -> Iterator[nn.Module]:
        """Stage by stage; the released names are registered kind by kind."""
        return chain.from_iterable(self._stages())

    def _stages(self) -> tuple[tuple[PatchEmbedding, nn.ModuleList, nn.LayerNorm], ...]:
        return (
            (self.patch_embed1, self.block1, self.norm1),
            (self.patch_embed2, self.block2, self.norm2),
            (self.patch_embed3, self.block3, self.norm3),
            (self.patch_embed4, self.block4, self.norm4),
        )
