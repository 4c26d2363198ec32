"""A domain's training images in their order, in whole batches: what a pass reads."""

from __future__ import annotations

import torch
from torch.utils.data import Dataset

from uda_hydra.data.cache import CachedImages, fill
from uda_hydra.data.pair import Pair
from uda_hydra.data.samples import ResizedImages
from uda_hydra.types import Source, Target


class Ordered(Dataset):
    """Item i is the i-th batch of uint8 images of "source" or "target"; the last may be smaller.

    Only source batches have labels. ``size`` is (width, height), or None for that of training,
    where the cache is used; ``mirror`` exchanges left and right in images and labels. ``count``
    takes so many images at most, evenly spread over the domain's list.
    """

    def __init__(
        self,
        pair: Pair,
        domain: str,
        *,
        batch: int,
        size: tuple[int, int] | None = None,
        mirror: bool = False,
        count: int | None = None,
    ) -> None:
        if domain not in ("source", "target"):
            raise ValueError(f'a pass goes over "source" or "target", not over {domain!r}')
        samples = pair.source if domain == "source" else pair.target
        # A pass sees every image once, so images of another size are not worth keeping.
        files = samples.decoded
        other_size = size is not None and tuple(size) != samples.size
        self.samples: ResizedImages | CachedImages = (
            files.at(size, filter=files.filter) if other_size else samples
        )
        self.labelled = domain == "source"
        self.mirror = mirror
        total = len(self.samples.keys)
        count = total if count is None else min(count, total)
        chosen = [position * total // count for position in range(count)]
        self.indices = [chosen[start : start + batch] for start in range(0, count, batch)]
        self.keys = [tuple(self.samples.keys[i] for i in group) for group in self.indices]

    def fill(self) -> None:
        """Decode what the cache lacks."""
        fill(self.samples.stores)

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, number: int) -> Source | Target:
        keys = self.keys[number]
        indices = self.indices[number]
        image = torch.stack([self.samples.image(i) for i in indices])
        image = image.flip(-1) if self.mirror else image
        if not self.labelled:
            return Target(image, keys)
        label = torch.stack([self.samples.label(i) for i in indices])
        return Source(image, label.flip(-1) if self.mirror else label, keys)
