"""Every score of a segmentation, from one confusion matrix."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Int64

from uda_hydra.data.label_space import LabelSpace

EPSILON = 1e-10
"""What ProCA's code adds to every denominator."""
SUBSET = "miou_"
"""What the name of a subset's mean IoU begins with."""
MEAN = "miou/last"
"""The mean IoU over all classes, as results name it."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores in 0..1 of the classes of a label space.

    A ratio with nothing to divide by is nan and joins no mean. ``average`` decides which classes
    the mean IoU is over: "defined", those that occur in truth or prediction (the releases' way);
    "occurring", those that occur in the truth; "all", where such a ratio is 0 (ProCA's way).
    """

    confusion: Int64[np.ndarray, "k k"]
    """Pixels per truth (row) and prediction (column)."""
    label_space: LabelSpace
    """The classes of rows and columns."""
    kept: tuple[int, ...] | None = None
    """Numbers of the classes scored, all by default. A pixel that is mistaken for a class left out
    is still a mistake."""
    average: str = "defined"

    def __post_init__(self) -> None:
        size = len(self.label_space)
        if self.confusion.shape != (size, size):
            raise ValueError(
                f"a confusion matrix of shape {self.confusion.shape} cannot score the {size} "
                f"classes of {self.label_space.name}; dataset.classes and the model must agree"
            )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the classes scored."""
        return tuple(self.label_space.names[number] for number in self._kept)

    @cached_property
    def absent(self) -> tuple[str, ...]:
        """Names of the classes scored that the truth does not show."""
        return tuple(n for n, pixels in zip(self.names, self._truth, strict=True) if pixels == 0)

    @property
    def classes_scored(self) -> int:
        """Number of the classes scored that occur in the truth."""
        return len(self.names) - len(self.absent)

    @cached_property
    def subsets(self) -> dict[str, Scores]:
        """Scores of the label space's subsets, by the name of their mean IoU."""
        named = self.label_space.subsets if self.kept is None else {}
        return {metric: self.subset(names) for metric, names in named.items()}

    @cached_property
    def iou(self) -> Float64[np.ndarray, " kept"]:
        """Hits over the union of truth and prediction; nan for a class absent from both.

        With the average "occurring" it is nan for a class absent from the truth.
        """
        iou = self._ratio(self._hits, self._truth + self._predicted - self._hits)
        return np.where(self._truth > 0, iou, np.nan) if self.average == "occurring" else iou

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
        """Mean IoU over the classes that ``average`` counts."""
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
        """The scores of some classes only, given by name or by number."""
        names = self.label_space.names
        numbers = []
        for entry in keep:
            if isinstance(entry, str) and entry not in names:
                raise ValueError(f"{self.label_space.name} has no class {entry!r}: {[*names]}")
            numbers.append(names.index(entry) if isinstance(entry, str) else int(entry))
        return Scores(self.confusion, self.label_space, tuple(numbers), self.average)

    def metrics(self) -> dict[str, float]:
        """The means, with the mean IoU of each subset under its name, such as ``miou_13``."""
        means = {
            "miou": self.miou,
            "pixel_accuracy": self.pixel_accuracy,
            "mean_accuracy": self.mean_accuracy,
            "fwiou": self.fwiou,
        }
        return means | {metric: scores.miou for metric, scores in self.subsets.items()}

    def per_class(self) -> dict[str, float]:
        """IoU of each class scored as ``iou/<name>``."""
        return {f"iou/{name}": float(v) for name, v in zip(self.names, self.iou, strict=True)}

    def result(self) -> dict[str, float | int | list[str] | None]:
        """The scores as result files hold them; None where a score is not defined."""
        means = self.metrics()
        values = {MEAN: means.pop("miou"), **means, **self.per_class()}
        defined = {key: None if np.isnan(value) else value for key, value in values.items()}
        counts = {"classes_scored": self.classes_scored, "classes_absent": [*self.absent]}
        return defined | counts

    def table(self, extra: Mapping[str, Mapping[str, float]] = {}) -> str:
        """A line per class in percent, and the means below; ``-`` where nothing is defined.

        ``extra`` are columns next to ours: heading to shares by the name of a class or a metric.
        """
        nan = float("nan")
        share = _defined(self._truth, np.full_like(self._truth, self.confusion.sum()))
        columns = (self.iou, self.class_accuracy, self.precision, share)
        rows = [
            *((name, name, *values) for name, *values in zip(self.names, *columns, strict=True)),
            ("miou", "mean", self.miou, self.mean_accuracy, self.mean_precision, nan),
        ]
        for metric, scores in self.subsets.items():
            means = scores.miou, scores.mean_accuracy, scores.mean_precision
            rows.append((metric, heading(metric).replace("mIoU", "mean"), *means, nan))
        width = max(len(label) for label in ("class", *(row[1] for row in rows)))
        widths = (9, *(max(9, len(name) + 2) for name in extra), 10, 11, 9)
        headings = zip(("IoU", *extra, "accuracy", "precision", "pixels"), widths, strict=True)
        head = f"{'class':{width}}" + "".join(f"{name:>{w}}" for name, w in headings)
        lines = []
        for key, label, iou, *others in rows:
            values = [iou, *(column.get(key, nan) for column in extra.values()), *others]
            cells = (_percent(v, w) for v, w in zip(values, widths, strict=True))
            lines.append(f"{label:{width}}" + "".join(cells))
        lines.insert(len(self.names), rule := "-" * len(head))
        return "\n".join([head, rule, *lines, *self._remarks()])

    def _remarks(self) -> list[str]:
        """The means in one line, and the classes that the truth lacks."""
        means = (f"{heading(name)} {_percent(v, 0)}" for name, v in self.metrics().items())
        total = len(self.names)
        lines = [f"{', '.join(means)}; {self.classes_scored} of {total} classes occur"]
        if self.absent:
            lines += textwrap.wrap(f"not in the labels: {', '.join(self.absent)}", 100)
        return lines

    @property
    def _kept(self) -> list[int]:
        return list(range(len(self.label_space)) if self.kept is None else self.kept)

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


def heading(metric: str) -> str:
    """A metric's name for people: "mIoU" of ``miou``, "mIoU 13" of ``miou_13``."""
    if metric == "miou":
        return "mIoU"
    if metric.startswith(SUBSET):
        return f"mIoU {metric.removeprefix(SUBSET)}"
    return metric.replace("_", " ")


def subset_metrics(result: Mapping[str, object]) -> list[str]:
    """Names of the subsets' mean IoUs that a result holds."""
    return [key for key in result if key.startswith(SUBSET)]


def _defined(
    part: Int64[np.ndarray, " n"], whole: Int64[np.ndarray, " n"]
) -> Float64[np.ndarray, " n"]:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)


def _mean(values: Float64[np.ndarray, " n"]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def _percent(value: float, width: int) -> str:
    return f"{'-' if np.isnan(value) else f'{100 * value:.2f}':>{width}}"
