"""A backbone with heads: the network every method trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from jaxtyping import Float
from torch import Tensor, nn

from uda_hydra.errors import UserError
from uda_hydra.models.backbone import Backbone
from uda_hydra.types import Normalization, Prediction

NORMS = (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)
"""What ``optimizer.decay_norms`` is about."""


class ParameterGroup(TypedDict):
    """Parameters that share a learning rate, as torch's optimisers take them."""

    name: str
    params: list[nn.Parameter]
    repeats: list[int]
    """Per parameter: how often the releases' optimiser updates it within one step."""


class Segmenter(nn.Module):
    """Logits of ``main_head`` and, where there is one, of ``aux_head``; heads return HeadOutput.

    ``main_reads`` and ``projector_reads`` are indices of the stages that each is called with, the
    auxiliary head is with the third. ``feat_norm`` normalises the last before any reads it.
    """

    def __init__(
        self,
        backbone: Backbone,
        main_head: nn.Module,
        aux_head: nn.Module | None = None,
        *,
        num_classes: int,
        normalization: Normalization,
        main_reads: Sequence[int] = (3,),
        feat_norm: nn.Module | None = None,
        projector: nn.Module | None = None,
        projector_reads: int = 3,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.feat_norm = feat_norm
        self.main_head = main_head
        self.aux_head = aux_head
        self.projector = projector
        self.num_classes = num_classes
        self.feature_channels = backbone.channels[-1]
        self.normalization = normalization
        self.main_reads = tuple(main_reads)
        self.projector_reads = projector_reads
        self.keep_stages = False
        """Return the maps of all stages; otherwise their memory is freed after the backward."""

    def context(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h2 w2"]:
        """What the features of a prediction are computed from: the image as it is."""
        return image

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Prediction:
        """Logits and features of a normalised image, at feature resolution."""
        stages = list(self.backbone(image))
        if self.feat_norm is not None:
            stages[-1] = self.feat_norm(stages[-1])
        main = self.main_head(*(stages[i] for i in self.main_reads))
        aux = projection = None
        if self.aux_head is not None:
            aux = self.aux_head(stages[2]).logits
        if self.projector is not None:
            projection = self.projector(stages[self.projector_reads])
        return Prediction(
            main=main.logits,
            aux=aux,
            features=stages[-1],
            head_feature=main.feature,
            projection=projection,
            stages=tuple(stages) if self.keep_stages else None,
        )

    def predict(
        self, image: Float[Tensor, "b 3 h w"], *, aux_weight: float = 0.0
    ) -> Float[Tensor, "b k _ _"]:
        """Logits of a normalised image at feature resolution.

        ``aux_weight`` times those of the auxiliary head are added where it is not 0.
        """
        prediction = self(image)
        if aux_weight == 0:
            return prediction.main
        if prediction.aux is None:
            raise UserError("evaluation.aux_weight must be 0: this model has no auxiliary head")
        return prediction.main + aux_weight * prediction.aux

    def parameter_groups(self) -> list[ParameterGroup]:
        """Every trainable parameter once, in the groups "backbone" and "heads"."""
        backbone, heads = {}, {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                group = backbone if name.startswith("backbone.") else heads
                group[name.removeprefix("backbone.")] = parameter
        repeats = [self.backbone.repeats(name) for name in backbone]
        return [
            ParameterGroup(name="backbone", params=[*backbone.values()], repeats=repeats),
            ParameterGroup(name="heads", params=[*heads.values()], repeats=[1] * len(heads)),
        ]
