"""Class mix: pixels of some source classes pasted into target images. DACS (Tranheden et al.)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor


def present_values(label: Int[Tensor, "b h w"], *, batch_wide: bool) -> Bool[Tensor, "b 256"]:
    """Which label values occur in each image, 255 included; of the whole batch on request.

    The batch-wide set is that of DAFormer and MIC, an image's own that of DACS.
    """
    flat = label.flatten(1).long()
    present = torch.zeros(len(label), 256, dtype=torch.bool, device=label.device)
    present.scatter_(1, flat, True)
    return present.any(0).expand_as(present) if batch_wide else present


def choose_half(
    present: Bool[Tensor, "b 256"], scores: Float[Tensor, "b 256"]
) -> Bool[Tensor, "b 256"]:
    """Half of the values that are ``present``, rounded up: those of the lowest ``scores``.

    With uniform scores every subset of that size is equally likely, and nothing waits for the
    device.
    """
    rank = scores.masked_fill(~present, torch.inf).argsort(dim=1).argsort(dim=1)
    half = (present.sum(dim=1, keepdim=True) + 1) // 2
    return present & (rank < half)


def class_mask(label: Int[Tensor, "b h w"], chosen: Bool[Tensor, "b 256"]) -> Bool[Tensor, "b h w"]:
    """Where an image's own label is one of the values chosen for it: what is pasted."""
    return chosen.gather(1, label.flatten(1).long()).view_as(label)


def mix(
    mask: Bool[Tensor, "b h w"],
    source: Shaped[Tensor, "b *c h w"],
    target: Shaped[Tensor, "b *c h w"],
) -> Shaped[Tensor, "b *c h w"]:
    """``source`` where the mask is true, else ``target``: for images, labels and weights alike."""
    return torch.where(mask if source.dim() == 3 else mask[:, None], source, target)
