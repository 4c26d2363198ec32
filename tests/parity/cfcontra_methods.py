"""CFContra as the reference numbers have it, and a note of what its steps labelled."""

from __future__ import annotations

from torch import Tensor, nn

from uda_hydra.methods import cfcontra as module
from uda_hydra.methods.cfcontra import CFContra

DEFAULTS = {
    "centres": None,
    "source_images": 300,
    "target_images": 1600,
    "temperature": 0.07,
    "memory_momentum": 0.9,
    "cross_update": True,
    "pseudo_label": "centre",
    "reject": True,
    "margin": 0.05,
    "margin_schedule": "constant",
    "margin_power": 0.9,
    "margin_horizon": 250000,
    "norm_euclid": False,
    "stable": False,
    "grad_memory": "forward",
}


def cfcontra(segmenter: nn.Module, **options: object) -> CFContra:
    """The method with the release's options, except those given."""
    return CFContra(segmenter, **(DEFAULTS | options))


def noted(monkeypatch) -> tuple[list[Tensor], list[Tensor]]:
    """Centres and labels, step by step: those of the source, then those of the target."""
    centres, labels, real = [], [], module.class_centres

    def note(features, label, num_classes):
        labels.append(label)
        centres.append(real(features, label, num_classes))
        return centres[-1]

    monkeypatch.setattr(module, "class_centres", note)
    return centres, labels
