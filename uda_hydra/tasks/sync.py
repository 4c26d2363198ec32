"""Sync: send what MLflow still lacks of the runs on this disk."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from uda_hydra.errors import UserError
from uda_hydra.inputs import shown
from uda_hydra.tracking.backlog import send_all
from uda_hydra.tracking.uri import check_uri, hide


def sync(config: DictConfig, overrides: list[str]) -> None:
    """Every run below ``output`` (default: outputs), whatever store it was meant for.

    Files hold no password: that of a run's store is read from ``tracking.uri``.
    """
    root = Path(config.output or "outputs")
    if not root.is_dir():
        raise UserError(f"output={root}: there are no runs here")
    try:
        check_uri(config.tracking.uri)
    except ValueError as error:
        raise UserError(str(error)) from error
    hide(config.tracking.uri)
    done = send_all(root)
    left = (f"{count} runs {why}" for why, count in done.left.items())
    print("; ".join([f"{done.sent} values sent", *left]))
    if done.failures:
        lines = [f"  {shown(folder)}: {why}" for folder, why in done.failures.items()]
        raise UserError("\n".join([f"{len(lines)} of {done.runs} runs are not sent:", *lines]))
