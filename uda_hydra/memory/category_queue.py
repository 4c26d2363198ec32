"""The category dictionary: for every class, the latest mean features and what they predicted."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Integer, Shaped
from torch import Tensor, nn


class CategoryQueue(nn.Module):
    """One ring of ``length`` keys per class; the newest key of a class replaces its oldest.

    CaCo (Huang et al., CVPR 2022). Everything happens on the device: no loop over
    classes, and nothing the host would have to wait for. ``gate`` decides when it is ``open`` for
    the loss: "full" once every slot of every class holds a key, "none" always. ``classes`` are
    those that count (all by default): one that the source never shows would keep it closed.
    """

    keys: Float[Tensor, "c m d"]
    probability: Float[Tensor, "c m c"]
    pushed: Int[Tensor, " c"]

    def __init__(
        self,
        num_classes: int,
        length: int,
        dim: int,
        *,
        gate: str = "full",
        classes: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if length < 1:
            raise ValueError(f"method.queue_length must be 1 or more, got {length}")
        if gate not in ("full", "none"):
            raise ValueError(f"method.gate must be one of full, none, got {gate}")
        self.length = length
        self.gate = gate
        self.register_buffer("keys", torch.zeros(num_classes, length, dim))
        self.register_buffer("probability", torch.zeros(num_classes, length, num_classes))
        self.register_buffer("pushed", torch.zeros(num_classes, dtype=torch.long))
        # Follows from config and data, not from training: a checkpoint must not bring it back.
        self.register_buffer("counted", torch.ones(num_classes, dtype=torch.bool), persistent=False)
        if classes is not None:
            self.restrict_to(classes)

    def restrict_to(self, classes: Sequence[int]) -> None:
        """Let only these classes count for ``fill``, ``full`` and ``open``."""
        known = range(len(self.keys))
        if not classes or not set(classes) <= set(known):
            raise ValueError(
                f"method.gate_classes must be null or class numbers below {len(known)}, "
                f"got {classes}"
            )
        self.counted.zero_()
        self.counted[list(classes)] = True

    @torch.no_grad()
    def push(
        self,
        features: Float[Tensor, "d h w"],
        label: Integer[Tensor, "h2 w2"],
        probability: Float[Tensor, "c h2 w2"] | None = None,
    ) -> None:
        """Add the mean feature of every class that one image shows; other classes stay as they are.

        ``label`` and ``probability`` are brought to the features' grid by nearest neighbour, and
        averaged over the same cells; without a probability (true labels) a key is one-hot in its
        class.
        """
        classes = torch.arange(len(self.keys), device=self.keys.device)
        size = features.shape[-2:]
        cells = _nearest(label[None], size).flatten()
        mask = (cells == classes[:, None]).to(self.keys.dtype)
        present = mask.sum(dim=1, keepdim=True) > 0

        key = _mean(features, mask)
        one_hot = torch.eye(len(classes), device=mask.device, dtype=mask.dtype)
        seen = one_hot if probability is None else _mean(_nearest(probability, size), mask)

        slot = self.pushed % self.length
        for ring, new in ((self.keys, key), (self.probability, seen)):
            ring[classes, slot] = new.where(present, ring[classes, slot])
        self.pushed += present.flatten()

    @property
    def filled(self) -> Bool[Tensor, "c m"]:
        """Which slots hold a key."""
        return torch.arange(self.length, device=self.pushed.device) < self.pushed[:, None]

    @property
    def complete(self) -> Int[Tensor, ""]:
        """How many classes have no empty slot."""
        return (self.pushed >= self.length).sum()

    @property
    def fill(self) -> Float[Tensor, ""]:
        """Filled share of the counted classes' slots, in [0, 1]."""
        held = self.pushed.clamp(max=self.length) * self.counted
        return held.sum() / (self.counted.sum() * self.length)

    @property
    def full(self) -> Bool[Tensor, ""]:
        """Whether every slot of every counted class holds a key, as a tensor on the device."""
        return ((self.pushed >= self.length) | ~self.counted).all()

    @property
    def open(self) -> Bool[Tensor, ""]:
        """Whether ``gate`` lets the keys be used, as a tensor on the device."""
        return self.full if self.gate == "full" else torch.ones_like(self.full)


def _nearest(map: Shaped[Tensor, "c h w"], size: tuple[int, int]) -> Shaped[Tensor, "c h2 w2"]:
    """The map at ``size``: cell i reads pixel floor(i * in / out), as in the release."""
    if map.shape[-2:] == torch.Size(size):
        return map
    values = map if map.is_floating_point() else map.float()
    return F.interpolate(values[None], size=tuple(size), mode="nearest")[0]


def _mean(map: Float[Tensor, "d h w"], mask: Float[Tensor, "c n"]) -> Float[Tensor, "c d"]:
    """Mean of the map over each class's cells: one product for all classes, 0 without a cell."""
    with torch.autocast(map.device.type, enabled=False):
        total = mask @ map.flatten(1).T.to(mask.dtype)
        return total / mask.sum(dim=1, keepdim=True).clamp(min=1)
