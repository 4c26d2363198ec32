"""What a method is: raw losses in the order of the paper, one ``Update`` per backward pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from torch import Tensor, nn

from uda_hydra.data.pair import Pair
from uda_hydra.types import Source, Target


class Update:
    """Raw loss terms of one backward pass, and the player whose parameters they train.

    Terms that share a graph belong in the same update.
    """

    def __init__(self, player: str, **terms: Tensor) -> None:
        self.player = player
        self.terms = terms


Losses = Iterator[Update]


class Method(nn.Module, ABC):
    """A way to train a segmenter on labelled source and unlabelled target images.

    Whatever must survive a step is a submodule or a buffer. Subclasses are final.
    """

    terms: ClassVar[tuple[str, ...]]
    """Names of the raw losses; the config's ``loss`` holds exactly ``lambda_<term>`` for these."""

    clip_norm: float | None = None
    """Largest gradient norm of a player (over all its trainable parameters), or no clipping."""

    def __init__(self, segmenter: nn.Module) -> None:
        super().__init__()
        self.segmenter = segmenter

    @abstractmethod
    def losses(self, source: Source, target: Target, progress: float) -> Losses:
        """Yield one ``Update`` per backward pass; ``progress`` runs from 0 to 1.

        Never yield inside a ``with``: the code that consumes the losses runs between the yields.
        """

    def players(self) -> dict[str, nn.Module]:
        """Name to module; each player has an optimiser of its own."""
        return {"segmenter": self.segmenter}

    def prepare(self, data: Pair, folder: Path) -> None:
        """Before the first step of a process: make what the method needs in ``folder``.

        Pseudo labels, prototypes ... What an earlier process has made there is used again; buffers
        are overwritten by those of the checkpoint where one is resumed.
        """

    def after_step(self) -> None:
        """After the optimisers have stepped."""

    def monitor(self) -> dict[str, Tensor]:
        """Quantities worth a curve that are no losses, such as the fill of a dictionary."""
        return {}

    def predict(self, image: Tensor) -> Tensor:
        """Logits (b, classes, h, w) of a normalised image, at any resolution; used in eval mode."""
        return self.segmenter(image).main
