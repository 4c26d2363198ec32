"""Every score of a segmentation, from one confusion matrix."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Int64

NOT_IN_13 = ("wall", "fence", "pole")
"""The classes of SYNTHIA's 16 that papers leave out of their second number, mIoU*."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores in 0..1 of ``classes``; a ratio with nothing to divide by is nan and joins no mean.

    ``kept`` are the positions scored, all by default. Scores of a subset come from the whole
    matrix: a pixel mistaken for a class that is left out is still a mistake.
    """

    confusion: Int64[np.ndarray, "k k"]
    """Pixels per truth (row) and prediction (column)."""
    classes: tuple[str, ...]
    """Names of all rows."""
    kept: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.confusion.shape != (len(self.classes), len(self.classes)):
            raise ValueError(
                f"a confusion matrix of shape {self.confusion.shape} cannot score "
                f"{len(self.classes)} classes; dataset.classes and the model must agree"
            )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the classes scored."""
        return tuple(self.classes[position] for position in self._kept)

    @cached_property
    def iou(self) -> Float64[np.ndarray, " kept"]:
        """Hits over the union of truth and prediction; nan for a class absent from both."""
        return _ratio(self._hits, self._truth + self._predicted - self._hits)

    @cached_property
    def class_accuracy(self) -> Float64[np.ndarray, " kept"]:
        """Hits over truth, also called recall."""
        return _ratio(self._hits, self._truth)

    @cached_property
    def precision(self) -> Float64[np.ndarray, " kept"]:
        """Hits over predictions."""
        return _ratio(self._hits, self._predicted)

    @cached_property
    def miou(self) -> float:
        """Mean IoU over the classes that occur."""
        return _mean(self.iou)

    @cached_property
    def mean_accuracy(self) -> float:
        """Mean class accuracy over the classes that the truth holds."""
        return _mean(self.class_accuracy)

    @cached_property
    def mean_precision(self) -> float:
        """Mean precision over the classes that were predicted."""
        return _mean(self.precision)

    @cached_property
    def pixel_accuracy(self) -> float:
        """Hits over all pixels; a subset does not change it."""
        pixels = self.confusion.sum()
        return float(np.trace(self.confusion) / pixels) if pixels else float("nan")

    @cached_property
    def fwiou(self) -> float:
        """IoU weighted by the truth's pixels, whose shares sum to one over the classes scored."""
        occurs = self._truth > 0
        shares = self._truth[occurs] / max(self._truth.sum(), 1)
        return float(shares @ self.iou[occurs])

    def subset(self, keep: Iterable[str | int]) -> Scores:
        """The scores of some classes only, given by name or by position."""
        positions = []
        for entry in keep:
            if isinstance(entry, str) and entry not in self.classes:
                raise ValueError(f"no class {entry!r} to score; classes are {list(self.classes)}")
            positions.append(self.classes.index(entry) if isinstance(entry, str) else int(entry))
        return Scores(self.confusion, self.classes, tuple(positions))

    def metrics(self) -> dict[str, float]:
        """The few numbers of a run; ``miou_13`` (mIoU*) comes with SYNTHIA's 16 classes."""
        values = {
            "miou": self.miou,
            "pixel_accuracy": self.pixel_accuracy,
            "mean_accuracy": self.mean_accuracy,
            "fwiou": self.fwiou,
        }
        if len(self.names) == 16 and set(NOT_IN_13) <= set(self.names):
            thirteen = [name for name in self.names if name not in NOT_IN_13]
            values["miou_13"] = self.subset(thirteen).miou
        return values

    def per_class(self) -> dict[str, float]:
        """IoU of each class scored as ``iou/<name>``."""
        return {
            f"iou/{name}": float(value) for name, value in zip(self.names, self.iou, strict=True)
        }

    def table(self) -> str:
        """A line per class in percent, and the means below; ``-`` where nothing is defined."""
        share = _ratio(self._truth, np.full_like(self._truth, self.confusion.sum()))
        rows = [
            *zip(self.names, self.iou, self.class_accuracy, self.precision, share, strict=True),
            ("mean", self.miou, self.mean_accuracy, self.mean_precision, float("nan")),
        ]
        width = max(len(name) for name in ("class", *self.names))
        head = f"{'class':{width}}{'IoU':>9}{'accuracy':>10}{'precision':>11}{'pixels':>9}"
        lines = [
            f"{name:{width}}"
            + "".join(_percent(v, w) for v, w in zip(values, (9, 10, 11, 9), strict=True))
            for name, *values in rows
        ]
        means = [f"{name} {_percent(v, 0)}" for name, v in self.metrics().items()]
        rule = "-" * len(head)
        return "\n".join([head, rule, *lines[:-1], rule, lines[-1], ", ".join(means)])

    @property
    def _kept(self) -> list[int]:
        return list(range(len(self.classes)) if self.kept is None else self.kept)

    @property
    def _hits(self) -> Int64[np.ndarray, " kept"]:
        return np.diag(self.confusion)[self._kept]

    @property
    def _truth(self) -> Int64[np.ndarray, " kept"]:
        return self.confusion.sum(axis=1)[self._kept]

    @property
    def _predicted(self) -> Int64[np.ndarray, " kept"]:
        return self.confusion.sum(axis=0)[self._kept]


def _ratio(
    part: Int64[np.ndarray, " n"], whole: Int64[np.ndarray, " n"]
) -> Float64[np.ndarray, " n"]:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


def _mean(values: Float64[np.ndarray, " n"]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def _percent(value: float, width: int) -> str:
    return f"{'-' if np.isnan(value) else f'{100 * value:.2f}':>{width}}"
