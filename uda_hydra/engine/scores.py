"""Every score of a segmentation, from one confusion matrix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Int64

NOT_IN_13 = ("wall", "fence", "pole")
"""The classes of SYNTHIA's 16 that papers leave out of their second number, mIoU*."""
EPSILON = 1e-10
"""What ProCA's code adds to every denominator."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores in 0..1 of ``classes``; a ratio with nothing to divide by is nan and joins no mean.

    ``kept`` are the positions scored, all by default. Scores of a subset come from the whole
    matrix: a pixel mistaken for a class that is left out is still a mistake. With ``average`` "all"
    instead of "defined" such a ratio is 0 and counts, which is ProCA's convention.
    """

    confusion: Int64[np.ndarray, "k k"]
    """Pixels per truth (row) and prediction (column)."""
    classes: tuple[str, ...]
    """Names of all rows."""
    kept: tuple[int, ...] | None = None
    average: str = "defined"

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
        return self._ratio(self._hits, self._truth + self._predicted - self._hits)

    @cached_property
    def dice(self) -> Float64[np.ndarray, " kept"]:
        """Hits over the mean of truth and prediction, also called F-score."""
        return self._ratio(2 * self._hits, self._truth + self._predicted)

    @cached_property
    def class_accuracy(self) -> Float64[np.ndarray, " kept"]:
        """Hits over truth, also called recall."""
        return self._ratio(self._hits, self._truth)

    @cached_property
    def precision(self) -> Float64[np.ndarray, " kept"]:
        """Hits over predictions."""
        return self._ratio(self._hits, self._predicted)

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
        hits, pixels = np.trace(self.confusion), self.confusion.sum()
        return float(self._ratio(hits[None], pixels[None])[0])

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
        return Scores(self.confusion, self.classes, tuple(positions), self.average)

    def metrics(self) -> dict[str, float]:
        """The few numbers of a run; ``miou_13`` (mIoU*) comes with SYNTHIA's 16 classes."""
        values = {
            "miou": self.miou,
            "pixel_accuracy": self.pixel_accuracy,
            "mean_accuracy": self.mean_accuracy,
            "fwiou": self.fwiou,
        }
        if self.thirteen:
            values["miou_13"] = self.thirteen.miou
        return values

    @cached_property
    def thirteen(self) -> Scores | None:
        """The 13 of SYNTHIA's 16 classes; None where there are other classes than these 16."""
        if len(self.names) != 16 or not set(NOT_IN_13) <= set(self.names):
            return None
        return self.subset(name for name in self.names if name not in NOT_IN_13)

    def per_class(self) -> dict[str, float]:
        """IoU of each class scored as ``iou/<name>``."""
        return {
            f"iou/{name}": float(value) for name, value in zip(self.names, self.iou, strict=True)
        }

    def table(self, beside: Mapping[str, Mapping[str, float]] = {}) -> str:
        """A line per class in percent, and the means below; ``-`` where nothing is defined.

        ``beside`` are the IoUs of others, for columns next to ours: heading to shares by the name
        of the class, ``mean`` and ``mean*`` (mIoU*).
        """
        nan = float("nan")
        share = _defined(self._truth, np.full_like(self._truth, self.confusion.sum()))
        rows = [
            *zip(self.names, self.iou, self.class_accuracy, self.precision, share, strict=True),
            ("mean", self.miou, self.mean_accuracy, self.mean_precision, nan),
        ]
        if self.thirteen:
            rows.append(("mean*", self.thirteen.miou, *[nan] * 3))
        width = max(len(name) for name in ("class", *self.names))
        widths = (9, *(max(9, len(name) + 2) for name in beside), 10, 11, 9)
        headings = zip(("IoU", *beside, "accuracy", "precision", "pixels"), widths, strict=True)
        head = f"{'class':{width}}" + "".join(f"{name:>{w}}" for name, w in headings)
        lines = []
        for name, iou, *others in rows:
            values = [iou, *(column.get(name, nan) for column in beside.values()), *others]
            cells = (_percent(v, w) for v, w in zip(values, widths, strict=True))
            lines.append(f"{name:{width}}" + "".join(cells))
        means = [f"{name} {_percent(v, 0)}" for name, v in self.metrics().items()]
        lines.insert(len(self.names), rule := "-" * len(head))
        return "\n".join([head, rule, *lines, ", ".join(means)])

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
        self, part: Int64[np.ndarray, " n"], whole: Int64[np.ndarray, " n"]
    ) -> Float64[np.ndarray, " n"]:
        return part / (whole + EPSILON) if self.average == "all" else _defined(part, whole)


def _defined(
    part: Int64[np.ndarray, " n"], whole: Int64[np.ndarray, " n"]
) -> Float64[np.ndarray, " n"]:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


def _mean(values: Float64[np.ndarray, " n"]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def _percent(value: float, width: int) -> str:
    return f"{'-' if np.isnan(value) else f'{100 * value:.2f}':>{width}}"
