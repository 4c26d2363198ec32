"""Queues of embeddings for each class: the memory bank of ProCA's variant."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Integer
from torch import Tensor, nn

from uda_hydra.memory.cells import Permutation, cells_at, first_of_each
from uda_hydra.memory.class_sums import class_sums


class PixelBank(nn.Module):
    """Two rings of ``length`` slots a class: means of whole batches, and single cells.

    After Wang et al. (ICCV 2021), in the form of ProCA (Jiang et al., ECCV 2022). Every slot begins
    as a random unit vector and counts from the start. ``official`` are two faults of the release:
    the first vectors are normalised over the classes, and the ring of cells moves by one slot.
    """

    mean: Float[Tensor, "k m d"]
    pixel: Float[Tensor, "k m d"]
    mean_place: Int[Tensor, " k"]
    pixel_place: Int[Tensor, " k"]

    def __init__(
        self, num_classes: int, length: int, dim: int, *, pixels: int, official: bool
    ) -> None:
        super().__init__()
        if not 1 <= pixels <= length:
            raise ValueError(f"method.pixels must be in 1..method.memory_size, got {pixels}")
        self.pixels = pixels
        self.official = official
        for name in ("pixel", "mean"):
            first = torch.randn(num_classes, length, dim)
            self.register_buffer(name, normalize_slots(first, official=official))
            self.register_buffer(f"{name}_place", torch.zeros(num_classes, dtype=torch.long))

    @torch.no_grad()
    def update(
        self,
        embedding: Float[Tensor, "b d h w"],
        label: Integer[Tensor, "b h w"],
        permute: Permutation | None = None,
    ) -> None:
        """Add the mean of each class that the batch shows, and up to ``pixels`` of its cells."""
        embedding = embedding.detach().to(self.mean.dtype)
        classes, length = self.mean.shape[:2]
        total, count = class_sums(embedding, label, classes)
        count = count.long()
        rows = torch.arange(classes, device=label.device)
        shown = count > 0

        mean = total / count.clamp(min=1)[:, None]
        self.mean[rows, self.mean_place] = mean.where(
            shown[:, None], self.mean[rows, self.mean_place]
        )
        self.mean_place.add_(shown).remainder_(length)

        chosen, valid = first_of_each(label, classes, self.pixels, permute)
        taken = count.clamp(max=self.pixels)
        # What does not fit before the end takes the last slots; the ring then begins again.
        over = self.pixel_place + taken > length
        start = (length - taken).where(over, self.pixel_place)
        slot = (start[:, None] + torch.arange(self.pixels, device=label.device)) % length
        rows = rows[:, None]
        cells = cells_at(embedding, chosen).where(valid[..., None], self.pixel[rows, slot])
        self.pixel[rows, slot] = cells
        step = shown.long() if self.official else taken
        self.pixel_place.copy_(((start + step) % length).where(~over, 0))


def normalize_slots(slots: Float[Tensor, "k m d"], *, official: bool) -> Float[Tensor, "k m d"]:
    """Vectors of length 1; ``official``: along the classes, which no vector is the better for."""
    return F.normalize(slots, dim=0 if official else 2)
