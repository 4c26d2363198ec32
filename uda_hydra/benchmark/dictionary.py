"""CaCo's dictionary update and contrast loss against their literal formulation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

import uda_hydra.losses as L
from uda_hydra.benchmark.literal import LiteralDictionary, literal_contrast
from uda_hydra.benchmark.timing import Measurement, Setting, agree, side_by_side, speedup
from uda_hydra.memory import CategoryQueue
from uda_hydra.types import IGNORE

CLASSES = 19
TEMPERATURES = {"temperature": 0.07, "base_temperature": 0.07}
CLAMP = 0.1
DEMAND = "at least 10 for both together"


@dataclass(frozen=True)
class Sizes:
    """Of the maps, in cells (height, width), and of the dictionary; the paper's by default."""

    source: tuple[int, int] = (91, 161)
    target: tuple[int, int] = (65, 129)
    stride: int = 8
    length: int = 100
    dim: int = 2048

    def __str__(self) -> str:
        cells = " + ".join(f"{h}x{w}" for h, w in (self.source, self.target))
        return f"{CLASSES * self.length} keys of {self.dim} channels, {cells} cells"


SMALL = Sizes(source=(12, 20), target=(9, 17), length=3, dim=32)


class Problem:
    """A step's maps, and both dictionaries: each is full, and both hold the same."""

    def __init__(self, sizes: Sizes, device: torch.device) -> None:
        self.device = device
        generator = torch.Generator().manual_seed(0)

        def features(size: tuple[int, int]) -> Tensor:
            return torch.rand(sizes.dim, *size, generator=generator).to(device)

        def regions(size: tuple[int, int]) -> Tensor:
            coarse = torch.randint(0, CLASSES + 1, (1, 1, 8, 12), generator=generator)
            label = F.interpolate(coarse.float(), size=size, mode="nearest")[0, 0].long()
            return label.where(label < CLASSES, IGNORE).to(device)

        self.source = features(sizes.source)
        self.source_label = regions(
            (sizes.source[0] * sizes.stride, sizes.source[1] * sizes.stride)
        )
        self.target, self.query = features(sizes.target), features(sizes.target)
        self.label = regions(sizes.target)
        # Nearly all for the cell's own class, as the keys' threshold demands.
        own = F.one_hot(self.label.where(self.label < CLASSES, 0), CLASSES).permute(2, 0, 1)
        spread = torch.rand(CLASSES, *sizes.target, generator=generator).to(device)
        self.probability = (7 * own + spread).softmax(dim=0)

        self.queue = CategoryQueue(CLASSES, sizes.length, sizes.dim).to(device)
        self.literal = LiteralDictionary(CLASSES, sizes.length, sizes.dim)
        self._fill(generator)

    def _fill(self, generator: torch.Generator) -> None:
        self.literal.keys.copy_(torch.rand(self.literal.keys.shape, generator=generator))
        # From doubtful to certain: the reliabilities take all their values.
        certainty = 4 + 6 * torch.rand(1, CLASSES, self.queue.length, generator=generator)
        own = torch.eye(CLASSES)[:, :, None]
        self.literal.probability.copy_((certainty * own).softmax(dim=0))
        self.literal.category.copy_(torch.arange(CLASSES)[:, None])
        self.queue.keys.copy_(self.literal.keys.permute(1, 2, 0))
        self.queue.probability.copy_(self.literal.probability.permute(1, 2, 0))
        self.queue.pushed.fill_(self.queue.length)

    def update(self) -> None:
        """Both domains enter our dictionary."""
        self.queue.push(self.source, self.source_label)
        self.queue.push(self.target, self.label, self.probability)

    def literal_update(self) -> None:
        """The same for the literal one."""
        self.literal.push(self.source, self.source_label)
        self.literal.push(self.target, self.label, self.probability)

    def contrast(self) -> tuple[Tensor, Tensor]:
        """Our loss and its gradient."""
        query = self.query[None].requires_grad_()
        weight = L.reliability(self.queue.probability, CLAMP) * self.queue.filled
        loss = L.category_contrast(query, self.label[None], self.queue.keys, weight, **TEMPERATURES)
        return loss.detach(), torch.autograd.grad(loss, query)[0][0]

    def literal_contrast(self) -> tuple[Tensor, Tensor]:
        """The literal loss and its gradient."""
        query = self.query.detach().requires_grad_()
        entries = self.literal.read(self.device)
        loss = literal_contrast(query, self.label, *entries, **TEMPERATURES, clamp=CLAMP)
        return loss.detach(), torch.autograd.grad(loss, query)[0]

    def both(self) -> None:
        """A step's worth of ours."""
        self.update()
        self.contrast()

    def literal_both(self) -> None:
        """A step's worth of the literal one."""
        self.literal_update()
        self.literal_contrast()

    def check(self) -> None:
        """After an update, the same keys in the same order, the same loss and gradient."""
        self.update()
        self.literal_update()
        slot = torch.arange(self.queue.length, device=self.device) + self.queue.pushed[:, None]
        rows = torch.arange(CLASSES, device=self.device)[:, None]
        ours = self.queue.keys[rows, slot % self.queue.length]
        plain = self.literal.keys.permute(1, 2, 0).to(self.device)
        agree("keys of the dictionary", ours, plain, tolerance=1e-5)
        for what, ours, plain in zip(
            ("contrast loss", "its gradient"), self.contrast(), self.literal_contrast(), strict=True
        ):
            agree(what, ours, plain, tolerance=1e-4)


def compare(setting: Setting) -> list[Measurement]:
    """The update, the loss with its gradient, and both one after the other."""
    sizes = SMALL if setting.quick else Sizes()
    problem = Problem(sizes, setting.device)
    problem.check()
    pairs = {
        "dictionary update": (problem.update, problem.literal_update, 9),
        "contrast, forward + backward": (problem.contrast, problem.literal_contrast, 5),
        "update and contrast": (problem.both, problem.literal_both, 5),
    }
    return [
        speedup(
            name,
            side_by_side(
                ours, plain, repetitions=setting.repetitions(count), device=setting.device
            ),
            DEMAND,
            str(sizes),
        )
        for name, (ours, plain, count) in pairs.items()
    ]
