"""Sync: send what MLflow still lacks of the runs on this disk."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from uda_hydra.errors import UserError
from uda_hydra.tracking.mlflow import sync as send


def sync(config: DictConfig, overrides: list[str]) -> None:
    """Every run below ``output`` (default: outputs), whatever store it was meant for."""
    root = Path(config.output or "outputs")
    if not root.is_dir():
        raise UserError(f"output={root}: there are no runs here")
    try:
        count = send(root)
    except ConnectionError as error:
        raise UserError(str(error)) from error
    print(f"{count} values sent")
