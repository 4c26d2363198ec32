"""Initial values of convolutions, before pretrained weights overwrite the backbone's.

All other parameters keep torch's initial values: weight and bias uniform in 1/sqrt(fan in).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from torch import nn


def gaussian(*modules: nn.Module | None) -> None:
    """Draw the weights of all convolutions from N(0, 0.01), as DeepLab's releases do."""
    for conv in _convolutions(modules):
        nn.init.normal_(conv.weight, std=0.01)


def he_out(*modules: nn.Module | None) -> None:
    """Weights of all convolutions such that gradients keep their size. He et al., 2015."""
    for conv in _convolutions(modules):
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")


def he_in(*modules: nn.Module | None) -> None:
    """Weights of all convolutions such that activations keep their size. He et al., 2015."""
    for conv in _convolutions(modules):
        nn.init.kaiming_normal_(conv.weight, mode="fan_in", nonlinearity="relu")


def _keep(*modules: nn.Module | None) -> None:
    """Keep the values that the modules were made with."""


SCHEMES: dict[str, tuple[Callable[..., None], Callable[..., None]]] = {
    # AdaptSegNet and its descendants, ProDA.
    "official": (gaussian, gaussian),
    # To train from nothing; with pretrained weights, ProCA with its V3 head.
    "he": (he_out, _keep),
    # ProCA, and DAFormer's DeepLabV2.
    "proca": (he_out, gaussian),
    # The concatenating network in CaCo's vanilla release.
    "default": (_keep, _keep),
}
"""What ``model.initialization`` may name: the initial values of the backbone, and of the heads."""


def initialize(name: str, backbone: nn.Module, heads: Iterable[nn.Module | None]) -> None:
    """Draw the initial values by the entry ``name`` of ``SCHEMES``."""
    if name not in SCHEMES:
        raise ValueError(f"model.initialization must be one of {', '.join(SCHEMES)}, got {name!r}")
    draw_backbone, draw_heads = SCHEMES[name]
    draw_backbone(backbone)
    draw_heads(*heads)


def _convolutions(modules: Iterable[nn.Module | None]) -> Iterator[nn.Conv2d]:
    for module in modules:
        if module is not None:
            yield from (child for child in module.modules() if isinstance(child, nn.Conv2d))
