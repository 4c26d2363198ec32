"""What a method is: raw losses in the order of the paper, one ``Update`` per backward pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from torch import Tensor, nn

from uda_hydra.data.pair import Pair
from uda_hydra.types import Normalization, Source, Target


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

    def before_step(self) -> None:
        """Once before the losses of a step, however many parts its batch is split into."""

    def after_step(self) -> None:
        """Once after the optimisers have stepped."""

    def monitor(self) -> dict[str, Tensor]:
        """Quantities worth a curve that are no losses, such as the fill of a dictionary."""
        return {}

    @property
    def normalization(self) -> Normalization:
        """How uint8 RGB becomes the segmenter's input."""
        return self.segmenter.normalization

    def predict(self, image: Tensor, *, aux_weight: float = 0.0) -> Tensor:
        """Logits (b, classes, h, w) of a normalised image, at any resolution; used in eval mode.

        ``aux_weight`` times those of the auxiliary head are added where it is not 0.
        """
        return self.segmenter.predict(image, aux_weight=aux_weight)


def check_weights(terms: Sequence[str], weights: dict[str, float]) -> None:
    """Raise ValueError unless ``weights`` has exactly ``lambda_<term>`` for every term."""
    wanted = {f"lambda_{term}" for term in terms}
    missing, unknown = sorted(wanted - set(weights)), sorted(set(weights) - wanted)
    complaints = [f"loss.{key} is missing" for key in missing]
    complaints += [f"loss.{key} weighs no term of this method" for key in unknown]
    if complaints:
        valid = ", ".join(f"loss.{key}" for key in sorted(wanted))
        raise ValueError(f"{'; '.join(complaints)}. The method has {valid}.")


def require(key: str, value: object, wanted: str, holds: bool) -> None:
    """Raise ValueError, naming ``method.<key>`` and what it must be, unless it ``holds``."""
    if not holds:
        raise ValueError(f"method.{key} must be {wanted}, got {value}")


def require_choice(key: str, value: str, *known: str) -> None:
    """Raise ValueError unless the value is one of those known."""
    require(key, value, f"one of {', '.join(known)}", value in known)
