"""The numbers of a table: mean and spread, the gap that is closed, the gain over the controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from uda_hydra.engine.scores import MEAN, subset_metrics
from uda_hydra.studies.report.statistics import Estimate, estimate, paired
from uda_hydra.table.rows import Result, Row

SOURCE, ORACLE = "source", "oracle"
"""The rows between which a share of the gap is measured."""


@dataclass(frozen=True, eq=False)
class TableAnalysis:
    """Every number of a table, in percent and points; ``controls`` are names of rows."""

    rows: Sequence[Row]
    controls: Sequence[str] = ()

    @cached_property
    def results(self) -> list[Result]:
        """Of all finished trainings."""
        return [training.result for row in self.rows for training in row.trainings.values()]

    @cached_property
    def subsets(self) -> list[str]:
        """Metrics of the label space's subsets that a result holds."""
        return [*dict.fromkeys(key for one in self.results for key in subset_metrics(one))]

    @cached_property
    def classes(self) -> list[str]:
        """Keys of the classes' IoU that a result holds."""
        return [*dict.fromkeys(k for one in self.results for k in one if k.startswith("iou/"))]

    def mean(self, row: Row, key: str) -> Estimate:
        """A key of the results over the seeds of a row."""
        return estimate([*row.scores(key).values()])

    def gap_closed(self, row: Row) -> Estimate:
        """Share in percent of the way from the source model to the oracle, seed by seed.

        A seed whose oracle is no better than its source has no gap.
        """
        low, high = (self._scores(name) for name in (SOURCE, ORACLE))
        ours = row.scores(MEAN)
        seeds = [s for s in ours if s in low and s in high and high[s] > low[s]]
        return estimate([100 * (ours[s] - low[s]) / (high[s] - low[s]) for s in seeds])

    def _scores(self, name: str) -> dict[int, float]:
        return next((row.scores(MEAN) for row in self.rows if row.name == name), {})

    @cached_property
    def controls_present(self) -> list[Row]:
        """The controls that a seed has finished."""
        return [row for row in self.rows if row.name in self.controls and row.scores(MEAN)]

    @cached_property
    def shared_seeds(self) -> list[int]:
        """The seeds that all present controls have finished."""
        seeds = [{*row.scores(MEAN)} for row in self.controls_present]
        return sorted(set.intersection(*seeds)) if seeds else []

    @cached_property
    def best_control(self) -> Row | None:
        """The control with the highest mean over ``shared_seeds``; None where there are none."""
        if not self.shared_seeds:
            return None
        return max(self.controls_present, key=self.shared_mean)

    def shared_mean(self, control: Row) -> float:
        """The mean of a control over ``shared_seeds``."""
        scores = control.scores(MEAN)
        return estimate([scores[seed] for seed in self.shared_seeds]).mean

    def gain(self, row: Row) -> Estimate | None:
        """A row minus the best control over equal seeds; None for that control and without one."""
        if self.best_control in (None, row):
            return None
        return paired(row.scores(MEAN), self.best_control.scores(MEAN))

    @cached_property
    def adaptations(self) -> list[Row]:
        """The rows that are neither a control nor the oracle, nor a copy of an earlier row.

        A row that only makes labels has the weights it begins with, and so their scores.
        """
        scores = [row.scores(MEAN).items() for row in self.rows]
        return [
            row
            for place, row in enumerate(self.rows)
            if row.name not in (*self.controls, ORACLE)
            and not any(scores[place] <= earlier for earlier in scores[:place])
        ]
