"""What the papers and their repositories report, to be shown beside a run's own scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from omegaconf import OmegaConf

from uda_hydra.errors import UserError, nearest

TABLE = Path(__file__).with_name("published.yaml")
SENSITIVITY = Path(__file__).with_name("sensitivity.yaml")


@dataclass(frozen=True)
class Row:
    """One row of a table on Cityscapes, in percent; None or empty where it is not reported."""

    method: str
    """Module of the method, "oracle", or a name that only ``published=<name>`` finds."""
    pair: str
    """``dataset.name``."""
    name: str
    """What the source calls it."""
    network: str
    source: str
    miou: float | None = None
    miou_13: float | None = None
    """mIoU*."""
    iou: tuple[float, ...] = ()
    """By class, in the order of the train ids."""
    remark: str = ""
    """What is not certain about the row."""

    def column(self, classes: Sequence[str]) -> dict[str, float]:
        """Shares in 0..1 by class name, ``mean`` and ``mean*``: a column of ``Scores.table``."""
        percent = dict(zip(classes, self.iou, strict=True)) if self.iou else {}
        percent |= {"mean": self.miou, "mean*": self.miou_13}
        return {name: value / 100 for name, value in percent.items() if value is not None}

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
def _rows() -> tuple[Row, ...]:
    entries = OmegaConf.to_container(OmegaConf.load(TABLE))
    return tuple(Row(**{**entry, "iou": tuple(entry.get("iou", ()))}) for entry in entries)


def published(method: str, pair: str) -> list[Row]:
    """What is known of a method on a data set pair, in the order of the table."""
    return [row for row in _rows() if (row.method, row.pair) == (method, pair)]


def check_name(name: str | None) -> None:
    """Raise UserError unless ``published=<name>`` names rows of the table."""
    known = {row.method for row in _rows()}
    if name is not None and name not in known:
        raise UserError(f"published={name} names no rows of published.yaml{nearest(name, known)}")


def sensitivity(method: str, pair: str, parameter: str) -> list[Curve]:
    """What is known of how a method's mIoU depends on a parameter."""
    entries = OmegaConf.to_container(OmegaConf.load(SENSITIVITY))
    curves = [Curve(**{**e, "points": tuple(sorted(e["points"].items()))}) for e in entries]
    wanted = (method, pair, parameter)
    return [c for c in curves if (c.method, c.pair, c.parameter) == wanted]
