"""Report: done by the sweeper, which knows the study; here only its absence is explained."""

from __future__ import annotations

from omegaconf import DictConfig

from uda_hydra.errors import UserError


def report(config: DictConfig, overrides: list[str]) -> None:
    """Raise UserError: a command that is no sweep has no study to report."""
    raise UserError(
        "task=report needs the study: the overrides of its command, sweep=... or -m and what is "
        "swept"
    )
