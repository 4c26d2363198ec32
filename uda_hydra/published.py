"""What the papers and their repositories report, to be shown with a run's own scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from uda_hydra.errors import UserError, nearest

TABLE = Path(__file__).with_name("published.yaml")
SENSITIVITY = Path(__file__).with_name("sensitivity.yaml")


@dataclass(frozen=True, eq=False)
class Row:
    """One row of a published table; its scores are in percent."""

    method: str
    """Module of the method, "oracle", or a name that only ``published=<name>`` finds."""
    pair: str
    """``dataset.name``."""
    name: str
    """What the source calls it."""
    network: str
    source: str
    scores: Mapping[str, float]
    """Means by metric, as results name them: miou, and those of the label space's subsets."""
    iou: Mapping[str, float] = field(default_factory=dict)
    """By name of the class; empty where the classes are not reported."""
    remark: str = ""
    """What is uncertain about the row."""

    def column(self) -> dict[str, float]:
        """Shares in 0..1 by class name and by metric: a column of ``Scores.table``."""
        return {name: value / 100 for name, value in {**self.iou, **self.scores}.items()}

    def note(self) -> str:
        """What the row is and where it comes from."""
        remark = f" ({self.remark})" if self.remark else ""
        return f"{self.name}, {self.network}: {self.source}{remark}"


@dataclass(frozen=True)
class Curve:
    """mIoU on Cityscapes in percent against one parameter, as a source reports it."""

    method: str
    pair: str
    name: str
    network: str
    parameter: str
    """The config key that is swept, such as ``loss.lambda_adv``."""
    points: tuple[tuple[float, float], ...]
    """Value and mIoU, by increasing value."""
    source: str
    remark: str = ""


@cache
def _table() -> tuple[dict[str, str], tuple[Row, ...]]:
    """Name of the label space that each pair is scored in, and all rows."""
    table = OmegaConf.to_container(OmegaConf.load(TABLE))
    return table["classes"], tuple(Row(**entry) for entry in table["rows"])


def published(method: str, pair: str, label_space: str) -> list[Row]:
    """The published rows of a method on a data set pair, in the order of the table.

    There are none in another label space than the published one: means over other classes are not
    comparable.
    """
    label_spaces, rows = _table()
    if label_spaces.get(pair) != label_space:
        return []
    return [row for row in rows if (row.method, row.pair) == (method, pair)]


def published_as(config: DictConfig) -> str:
    """Whose published rows belong with a run: those of ``published``, else of its method.

    A training on the target's labels is known as "oracle".
    """
    check_name(config.published)
    if config.published is not None:
        return config.published
    return "oracle" if config.dataset.oracle else config.method.name


def check_name(name: str | None) -> None:
    """Raise UserError unless ``published=<name>`` names rows of the table."""
    known = {row.method for row in _table()[1]}
    if name is not None and name not in known:
        raise UserError(f"published={name} names no rows of published.yaml{nearest(name, known)}")


def sensitivity(method: str, pair: str, parameter: str) -> list[Curve]:
    """The published curves of a method's mIoU against a parameter."""
    entries = OmegaConf.to_container(OmegaConf.load(SENSITIVITY))
    curves = [Curve(**{**e, "points": tuple(sorted(e["points"].items()))}) for e in entries]
    wanted = (method, pair, parameter)
    return [c for c in curves if (c.method, c.pair, c.parameter) == wanted]
