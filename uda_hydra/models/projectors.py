"""From features to the embeddings that contrastive losses compare."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from uda_hydra.models.blocks import PixelLinear


class ProjectorKind(NamedTuple):
    """A projector: two layers with a ReLU between them, or a single one (``layers`` 1)."""

    layers: int = 2
    norms: int = 0
    """Batch norms: behind none of the layers, the first, or both."""
    stage: int = 3
    """Index of the backbone's stage whose map is projected."""
    out: int | None = None
    """Channels of the embedding; None: as many as the last stage."""
    convolution: bool = False
    """Weights are stored as 1x1 convolutions."""
    unit: bool = False
    """Embeddings have length 1."""


PROJECTORS = {
    "caco_vanilla": ProjectorKind(norms=1, stage=2, out=128, convolution=True),
    # CFContra's ``head_mode``; without a projector, it compares the last stage itself.
    "moco": ProjectorKind(),
    "simclr": ProjectorKind(norms=2),
    "byol": ProjectorKind(norms=1),
    "linear": ProjectorKind(layers=1),
    "proca": ProjectorKind(norms=1, out=256, convolution=True, unit=True),
    "proca_linear": ProjectorKind(layers=1, out=256, convolution=True, unit=True),
}
"""What ``model.projector`` may name."""


class Projector(nn.Module):
    """Projects every cell by itself; ``hidden`` channels between the layers."""

    def __init__(self, kind: ProjectorKind, channels: int, hidden: int) -> None:
        super().__init__()
        out = kind.out or hidden
        self.channels = out
        self.single, self.unit = kind.layers == 1, kind.unit
        if self.single:
            self.fc = _layer(kind, channels, out)
            return
        self.fc1 = _layer(kind, channels, hidden)
        self.norm1 = nn.BatchNorm2d(hidden) if kind.norms > 0 else nn.Identity()
        self.fc2 = _layer(kind, hidden, out)
        self.norm2 = nn.BatchNorm2d(out) if kind.norms > 1 else nn.Identity()

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b e h w"]:
        """An embedding of every cell."""
        embedding = self.fc(x) if self.single else self._two_layers(x)
        return F.normalize(embedding, dim=1) if self.unit else embedding

    def _two_layers(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b e h w"]:
        return self.norm2(self.fc2(F.relu(self.norm1(self.fc1(x)))))


def projector(name: str, stages: tuple[int, ...]) -> Projector:
    """The projector for a backbone whose stages are ``stages`` channels wide."""
    if name not in PROJECTORS:
        raise ValueError(
            f"model.projector must be null or one of {', '.join(PROJECTORS)}, got {name!r}"
        )
    kind = PROJECTORS[name]
    return Projector(kind, stages[kind.stage], hidden=stages[-1])


def _layer(kind: ProjectorKind, channels: int, out: int) -> nn.Module:
    return nn.Conv2d(channels, out, 1) if kind.convolution else PixelLinear(channels, out)
