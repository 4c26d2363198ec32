"""The first values of convolutions, before pretrained weights overwrite the backbone's.

What is not named here begins as torch makes it: weight and bias uniform in 1/sqrt(fan in).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from torch import nn


def gaussian(*modules: nn.Module | None) -> None:
    """Weights of all convolutions from N(0, 0.01), as DeepLab's releases draw them."""
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


def _own(*modules: nn.Module | None) -> None:
    """The values a module was made with."""


STARTS: dict[str, tuple[Callable[..., None], Callable[..., None]]] = {
    # AdaptSegNet and its descendants, ProDA.
    "official": (gaussian, gaussian),
    # To train from nothing; with pretrained weights, ProCA with its V3 head.
    "he": (he_out, _own),
    # ProCA, and DAFormer's DeepLabV2.
    "proca": (he_out, gaussian),
    # The concatenating network in CaCo's vanilla release.
    "default": (_own, _own),
}
"""What ``model.init`` may name: how the backbone begins, and how the heads."""


def start(name: str, backbone: nn.Module, heads: Iterable[nn.Module | None]) -> None:
    """Draw the first values as the entry of ``STARTS`` says."""
    if name not in STARTS:
        raise ValueError(f"model.init must be one of {', '.join(STARTS)}, got {name!r}")
    for_backbone, for_heads = STARTS[name]
    for_backbone(backbone)
    for_heads(*heads)


def _convolutions(modules: Iterable[nn.Module | None]) -> Iterator[nn.Conv2d]:
    for module in modules:
        if module is not None:
            yield from (child for child in module.modules() if isinstance(child, nn.Conv2d))
