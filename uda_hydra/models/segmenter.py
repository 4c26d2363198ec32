"""A backbone with one or two heads: the network every method trains."""

from __future__ import annotations

from typing import TypedDict

from jaxtyping import Float
from torch import Tensor, nn

from uda_hydra.models.resnet import ResNet
from uda_hydra.types import Normalization, Prediction


class ParameterGroup(TypedDict):
    """Parameters that share a learning rate, as torch's optimisers take them."""

    name: str
    params: list[nn.Parameter]
    repeats: list[int]
    """Per parameter: how often the releases' optimiser updates it within one step."""


class Segmenter(nn.Module):
    """Logits of ``main_head`` on the last stage and, where present, ``aux_head`` on the third."""

    def __init__(
        self,
        backbone: ResNet,
        main_head: nn.Module,
        aux_head: nn.Module | None,
        *,
        num_classes: int,
        normalization: Normalization,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.main_head = main_head
        self.aux_head = aux_head
        self.num_classes = num_classes
        self.feature_channels = backbone.channels[-1]
        self.normalization = normalization

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Prediction:
        """Logits and features of a normalised image, at feature resolution."""
        *_, third, fourth = self.backbone(image)
        aux = None if self.aux_head is None else self.aux_head(third)
        return Prediction(main=self.main_head(fourth), aux=aux, features=fourth)

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
