"""CFContra's class centres, pseudo labels and contrasts against their literal formulation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

import uda_hydra.losses as L
from uda_hydra.benchmark.timing import (
    Measurement,
    Setting,
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
    """Features of an image, and a label and centres for them."""

    def __init__(self, sizes: Sizes, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(0)
        size = sizes.height, sizes.width
        self.features = torch.rand(1, sizes.dim, *size, generator=generator).to(device)
        coarse = torch.randint(0, CLASSES + 1, (1, 1, 8, 12), generator=generator)
        label = F.interpolate(coarse.float(), size=size, mode="nearest")[0].long()
        self.label = label.where(label < CLASSES, IGNORE).to(device)
        centres = torch.rand(2 * CLASSES, sizes.dim, generator=generator)
        self.centres = F.normalize(centres, dim=1).to(device)

    def update(self) -> Tensor:
        """Our centres of the batch."""
        return class_centres(self.features, self.label, CLASSES)

    def literal_update(self) -> Tensor:
        """A masked copy of all features for each class."""
        sums = []
        for number in range(CLASSES):
            mask = (self.label == number).float()[:, None]
            share = mask.mean(dim=(2, 3)) + 1e-6
            sums.append(((self.features * mask).mean(dim=(2, 3)) / share).mean(dim=0))
        return F.normalize(torch.stack(sums), dim=1)

    def contrast(self) -> tuple[Tensor, Tensor, Tensor]:
        """Our pseudo labels, and both contrasts with their gradient."""
        features = self.features.requires_grad_()
        dot, length = L.dot_products(features, self.centres), L.lengths(features)
        own = self.centres[:CLASSES]
        label = L.nearest_centre(dot[:, :CLASSES].detach(), length.detach(), own, MARGIN)
        halves = L.cosines(dot, length).chunk(2, dim=1)
        loss = sum(L.centre_contrast(cosine, label, TEMPERATURE) for cosine in halves)
        return label, loss.detach(), torch.autograd.grad(loss, features)[0]

    def literal_contrast(self) -> tuple[Tensor, Tensor, Tensor]:
        """A pass over all features for each distance, and a product for each contrast."""
        features = self.features.requires_grad_()
        with torch.no_grad():
            distances = torch.cat(
                [
                    (features - centre[:, None, None]).norm(dim=1, keepdim=True)
                    for centre in self.centres[:CLASSES]
                ],
                dim=1,
            )
            label = distances.argmin(dim=1)
        total = torch.zeros((), device=features.device)
        for memory in self.centres.chunk(2):
            rows = F.normalize(features.permute(0, 2, 3, 1).flatten(0, 2), dim=1)
            scores = rows @ memory.T / TEMPERATURE
            exponential = (scores - scores.mean()).exp()
            q = exponential / (exponential.sum(dim=1, keepdim=True) + 1e-6)
            total = total + F.nll_loss((q + 1e-6).log(), label.flatten())
        return label, total.detach(), torch.autograd.grad(total, features)[0]

    def product(self) -> Tensor:
        """One product of the contrast's size, forward and backward."""
        features = self.features.requires_grad_()
        scores = self.centres @ features.flatten(2)
        return torch.autograd.grad(scores.sum(), features)[0]

    def check(self) -> None:
        """The same centres, labels, losses and gradients."""
        agree("centres", self.update(), self.literal_update(), tolerance=1e-5)
        for what, ours, plain in zip(
            ("pseudo labels", "contrast loss", "its gradient"),
            self.contrast(),
            self.literal_contrast(),
            strict=True,
        ):
            agree(what, ours, plain, tolerance=1e-4)


def compare(setting: Setting) -> list[Measurement]:
    """The update and the contrast against the literal ones, and the contrast against a product."""
    sizes = SMALL if setting.quick else Sizes()
    problem = Problem(sizes, setting.device)
    problem.check()
    rows = [
        ("class centres", speedup, problem.update, problem.literal_update, "at least 20 on a CPU"),
        ("labels and contrasts", speedup, problem.contrast, problem.literal_contrast, ""),
        (
            "contrasts by one product",
            overhead,
            problem.contrast,
            problem.product,
            "at most 1.1",
        ),
    ]
    return [
        row(
            name,
            side_by_side(ours, plain, repetitions=setting.repetitions(7), device=setting.device),
            demand,
            f"{sizes}{'; plain: one product' if row is overhead else ''}",
        )
        for name, row, ours, plain, demand in rows
    ]
