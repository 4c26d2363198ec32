"""Training batches in random views: the same with any number of workers and from any start."""

from __future__ import annotations

from random import Random

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import Dataset

from uda_hydra.data.cache import CachedImages
from uda_hydra.data.samples import ResizedImages
from uda_hydra.data.streams import Steps, seed_of
from uda_hydra.data.transforms import Labelled, maxsquare_view
from uda_hydra.settings import AugmentationSettings
from uda_hydra.types import IGNORE, Source, Target


class AugmentedSteps(Dataset):
    """The batches of ``steps`` with every sample in a random view of its own.

    A view is a function of (seed, domain, step, place in the batch) alone.
    """

    def __init__(
        self,
        steps: Steps,
        source: ResizedImages | CachedImages,
        target: ResizedImages | CachedImages,
        settings: AugmentationSettings,
    ) -> None:
        """``source`` and ``target`` are what ``steps`` batches."""
        self.steps = steps
        self.source = Views(source, settings, labelled=True)
        self.target = Views(target, settings, labelled=False)

    def __getitem__(self, step: int) -> tuple[Source, Target]:
        images, labels, keys = self._batch("source", self.source, step)
        source = Source(image=images, label=labels, key=keys)
        images, _, keys = self._batch("target", self.target, step)
        return source, Target(image=images, key=keys)

    def _batch(
        self, domain: str, views: Views, step: int
    ) -> tuple[UInt8[Tensor, "b 3 h w"], UInt8[Tensor, "b h w"], tuple[str, ...]]:
        chosen = self.steps.indices(domain, len(views.keys), step)
        seen = [
            views.view(index, Random(seed_of(self.steps.seed, "view", domain, step, place)))
            for place, index in enumerate(chosen)
        ]
        images = torch.stack([torch.from_numpy(one.image).permute(2, 0, 1) for one in seen])
        labels = torch.stack([torch.from_numpy(one.label) for one in seen])
        return images, labels, tuple(views.keys[index] for index in chosen)


class Views:
    """The samples of one domain as a training sees them."""

    def __init__(
        self,
        samples: ResizedImages | CachedImages,
        settings: AugmentationSettings,
        *,
        labelled: bool,
    ) -> None:
        """Without ``labelled`` no label is opened and every pixel is ignored."""
        self.keys = samples.keys
        self._labelled = labelled
        self._size = samples.size
        self._base = None
        # Mirror and blur act on what the cache holds. The release mirrors before it resizes: the
        # same but for rounding, and for a label's pixel whose centre lies between two of the file.
        self._samples = samples
        if settings.scale_range is not None:
            self._samples = samples.decoded.at(None)
            self._base = tuple(settings.scale_base or samples.size)
        self._settings = settings

    def view(self, index: int, random: Random) -> Labelled:
        """One sample as ``random`` has it; of the training size."""
        image = np.ascontiguousarray(self._samples.image(index).permute(1, 2, 0).numpy())
        if self._labelled:
            label = self._samples.label(index).numpy()
        else:
            label = np.full(image.shape[:2], IGNORE, np.uint8)
        return maxsquare_view(
            Labelled(image, label),
            crop=self._size,
            base=self._base,
            scales=tuple(self._settings.scale_range or (1.0, 1.0)),
            mirror=self._settings.mirror,
            blur=self._settings.blur,
            random=random,
        )
