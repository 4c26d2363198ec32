"""ProCA's prototype update and contrast: against masks for every channel, and a bare product."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

import uda_hydra.losses as L
from uda_hydra.benchmark.timing import (
    Measurement,
    Setting,
    Times,
    agree,
    overhead,
    side_by_side,
    speedup,
)
from uda_hydra.memory import Prototypes
from uda_hydra.types import IGNORE

CLASSES = 19
TEMPERATURE = 50.0


@dataclass(frozen=True)
class Sizes:
    """Of the maps, in cells (height, width), and of the features; the paper's by default."""

    cells: tuple[int, int] = (90, 160)
    dim: int = 2048

    def __str__(self) -> str:
        return f"{CLASSES} prototypes of {self.dim} channels, {self.cells[0]}x{self.cells[1]} cells"


SMALL = Sizes(cells=(9, 16), dim=32)


class Problem:
    """One domain's features and labels of a step."""

    def __init__(self, sizes: Sizes, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(0)
        shape = (1, sizes.dim, *sizes.cells)
        self.features = torch.rand(shape, generator=generator).to(device)
        label = torch.randint(0, CLASSES + 1, (1, *sizes.cells), generator=generator)
        self.label = label.where(label < CLASSES, IGNORE).to(device)
        self.gradient = torch.rand(1, CLASSES, self.label.numel(), generator=generator).to(device)
        self.table = Prototypes(CLASSES, sizes.dim).to(device)
        self.mean = torch.zeros(CLASSES, sizes.dim, device=device)
        self.count = torch.zeros(CLASSES, device=device)

    def update(self) -> None:
        """Ours."""
        self.table.update(self.features, self.label)

    def literal_update(self) -> None:
        """The release's: each cell's features once for every class, cells x classes x channels."""
        valid = self.label.flatten() != IGNORE
        rows = self.features.flatten(2)[0].T[valid]
        member = F.one_hot(self.label.flatten()[valid], CLASSES).to(rows.dtype)
        own = rows[:, None].expand(-1, CLASSES, -1) * member[..., None]
        count = member.sum(dim=0)
        mean = own.sum(dim=0) / count.clamp(min=1)[:, None]
        weight = (count / (count + self.count).clamp(min=1))[:, None]
        self.mean = (1 - weight) * self.mean + weight * mean
        self.count += count

    def contrast(self) -> tuple[Tensor, Tensor]:
        """Our loss and its gradient."""
        features = self.features.detach().requires_grad_()
        loss = L.prototype_contrast(features, self.label, self.table.mean, temperature=TEMPERATURE)
        return loss.detach(), torch.autograd.grad(loss, features)[0]

    def literal_contrast(self) -> tuple[Tensor, Tensor]:
        """The release's: cells and prototypes of length 1, then the cross-entropy."""
        features = self.features.detach().requires_grad_()
        valid = self.label.flatten() != IGNORE
        rows = F.normalize(features.flatten(2)[0].T[valid], dim=1)
        scores = rows @ F.normalize(self.table.mean, dim=1).T / TEMPERATURE
        loss = F.cross_entropy(scores, self.label.flatten()[valid])
        return loss.detach(), torch.autograd.grad(loss, features)[0]

    def product(self) -> Tensor:
        """A product of the contrast's size, and that of its gradient."""
        features = self.features.detach().requires_grad_()
        scores = self.table.mean @ features.flatten(2)
        return torch.autograd.grad(scores, features, self.gradient)[0]

    def check(self) -> None:
        """The same prototypes, loss and gradient."""
        for _ in range(2):
            self.update()
            self.literal_update()
        agree("prototypes", self.table.mean, self.mean, tolerance=1e-5)
        pairs = zip(self.contrast(), self.literal_contrast(), strict=True)
        for what, (ours, plain) in zip(("contrast", "its gradient"), pairs, strict=True):
            agree(what, ours, plain, tolerance=1e-4)


def compare(setting: Setting) -> list[Measurement]:
    """The update, and the loss with its gradient."""
    sizes = SMALL if setting.quick else Sizes()
    problem = Problem(sizes, setting.device)
    problem.check()

    def timed(ours: Callable[[], object], plain: Callable[[], object], count: int) -> Times:
        count = setting.repetitions(count)
        return side_by_side(ours, plain, repetitions=count, device=setting.device)

    note = str(sizes)
    contrast = "prototype contrast, forward + backward"
    return [
        speedup(
            "prototype update",
            timed(problem.update, problem.literal_update, 7),
            "at least 20 on a CPU",
            note,
        ),
        speedup(contrast, timed(problem.contrast, problem.literal_contrast, 9), "", note),
        overhead(
            f"{contrast}, against one product",
            timed(problem.contrast, problem.product, 9),
            "at most 1.1",
            note,
        ),
    ]
