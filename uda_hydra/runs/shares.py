"""Numbers that conf/ gives as shares of a training, so that they suit any length and size.

A config says ``${share_of_steps:0.0375}`` for so many steps.
"""

from __future__ import annotations

from omegaconf import DictConfig


def share_of_steps(share: float, *, _root_: DictConfig) -> int:
    """So many steps of ``trainer.steps``."""
    return round(share * _root_.trainer.steps)


def share_of_rows(share: float, *, _root_: DictConfig) -> int:
    """So many rows of the target's training size."""
    return round(share * _root_.dataset.target.size[1])


def momentum_over(share: float, *, _root_: DictConfig) -> float:
    """The momentum, in [0, 1), of an average over this share of all steps."""
    return 1 - 1 / max(1, share * _root_.trainer.steps)


def weight_over(share: float, *, _root_: DictConfig) -> float:
    """The weight, in (0, 1], of the latest in an average over this share of a domain's images."""
    return 1 / max(1, share * _root_.trainer.steps * _root_.trainer.batch_size)
