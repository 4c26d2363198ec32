"""CFContra's class centres, pseudo labels and contrasts against their literal formulation."""

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
from uda_hydra.memory import class_centres
from uda_hydra.types import IGNORE

CLASSES = 19
TEMPERATURE, MARGIN = 0.07, 0.0


@dataclass(frozen=True)
class Sizes:
    """Of the features; those of a 1280x640 image by default."""

    height: int = 81
    width: int = 161
    dim: int = 2048

    def __str__(self) -> str:
        return f"{CLASSES} centres of {self.dim} channels, {self.height}x{self.width} cells"


SMALL = Sizes(height=12, width=20, dim=32)


class Problem:
    """Features of an image that lie around the centres of their classes, some pixels unlabelled."""

    def __init__(self, sizes: Sizes, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(0)
        size = sizes.height, sizes.width
        coarse = torch.randint(0, CLASSES + 1, (1, 1, 8, 12), generator=generator)
        label = F.interpolate(coarse.float(), size=size, mode="nearest")[0].long()
        centres = torch.rand(2 * CLASSES, sizes.dim, generator=generator)
        around = centres[label.clamp(max=CLASSES - 1)].movedim(3, 1).contiguous()
        features = around + 0.1 * torch.rand(1, sizes.dim, *size, generator=generator)
        self.features = features.to(device).requires_grad_()
        self.label = label.where(label < CLASSES, IGNORE).to(device)
        self.centres = F.normalize(centres, dim=1).to(device)
        self.gradient = torch.rand(1, len(centres), label.numel(), generator=generator).to(device)

    def update(self) -> Tensor:
        """Our centres of the batch."""
        return class_centres(self.features, self.label, CLASSES)

    def literal_update(self) -> Tensor:
        """A masked copy of all features for each class."""
        sums, features = [], self.features.detach()
        for number in range(CLASSES):
            mask = (self.label == number).float()[:, None]
            share = mask.mean(dim=(2, 3)) + 1e-6
            sums.append(((features * mask).mean(dim=(2, 3)) / share).mean(dim=0))
        return F.normalize(torch.stack(sums), dim=1)

    def pseudo_label(self) -> Tensor:
        """Ours, of the nearest centre."""
        own = self.centres[:CLASSES]
        return L.nearest_centre(L.similarity(self.features.detach(), own), own, MARGIN)

    def literal_pseudo_label(self) -> Tensor:
        """A pass over all features for each distance."""
        features = self.features.detach()
        distances = [
            (features - centre[:, None, None]).norm(dim=1) for centre in self.centres[:CLASSES]
        ]
        return torch.stack(distances, dim=1).argmin(dim=1)

    def contrast(self) -> tuple[Tensor, Tensor]:
        """Both our contrasts, and their gradient."""
        cosine = L.similarity(self.features, self.centres).cosine
        halves = cosine.chunk(2, dim=1)
        loss = sum(L.centre_contrast(half, self.label, TEMPERATURE) for half in halves)
        return loss.detach(), torch.autograd.grad(loss, self.features)[0]

    def literal_contrast(self) -> tuple[Tensor, Tensor]:
        """Features of length 1, and a product for each contrast."""
        known = self.label.flatten() != IGNORE
        label = self.label.flatten()[known]
        loss = torch.zeros((), device=self.features.device)
        for memory in self.centres.chunk(2):
            rows = F.normalize(self.features.permute(0, 2, 3, 1).flatten(0, 2), dim=1)
            scores = rows @ memory.T / TEMPERATURE
            exponential = (scores - scores.mean()).exp()
            q = exponential / (exponential.sum(dim=1, keepdim=True) + 1e-6)
            loss = loss + F.nll_loss((q + 1e-6).log()[known], label)
        return loss.detach(), torch.autograd.grad(loss, self.features)[0]

    def product(self) -> Tensor:
        """A product of the contrasts' size, and that of its gradient."""
        scores = self.centres @ self.features.flatten(2)
        return torch.autograd.grad(scores, self.features, self.gradient)[0]

    def check(self) -> None:
        """The same centres, labels, losses and gradients."""
        agree("centres", self.update(), self.literal_update(), tolerance=1e-5)
        labels = self.pseudo_label(), self.literal_pseudo_label()
        agree("pseudo labels", *(one.float() for one in labels))
        pairs = zip(self.contrast(), self.literal_contrast(), strict=True)
        for what, (ours, plain) in zip(("contrasts", "their gradient"), pairs, strict=True):
            agree(what, ours, plain, tolerance=1e-4)


def compare(setting: Setting) -> list[Measurement]:
    """Centres, pseudo labels, and the contrasts with their gradient."""
    sizes = SMALL if setting.quick else Sizes()
    problem = Problem(sizes, setting.device)
    problem.check()

    def timed(ours: Callable[[], object], plain: Callable[[], object]) -> Times:
        count = setting.repetitions(7)
        return side_by_side(ours, plain, repetitions=count, device=setting.device)

    note = str(sizes)
    contrast = "centre contrasts, forward + backward"
    return [
        speedup(
            "class centres",
            timed(problem.update, problem.literal_update),
            "at least 20 on a CPU",
            note,
        ),
        speedup(
            "labels of nearest centres",
            timed(problem.pseudo_label, problem.literal_pseudo_label),
            "",
            note,
        ),
        speedup(contrast, timed(problem.contrast, problem.literal_contrast), "", note),
        overhead(
            f"{contrast}, against one product",
            timed(problem.contrast, problem.product),
            "at most 1.1",
            note,
        ),
    ]
