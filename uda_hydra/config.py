"""Config nodes as plain values and dataclasses, and values as overrides."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from uda_hydra.errors import UserError


def plain(node: Any) -> Any:
    """Dictionaries and lists in place of config nodes, interpolations resolved."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def settings(node: DictConfig) -> Any:
    """The dataclass of a typed group, with its ranges checked."""
    try:
        return OmegaConf.to_object(node)
    except ValueError as error:
        raise UserError(str(error)) from error


def quoted(line: str) -> str:
    """``key=value`` with the value quoted where a path could confuse Hydra's grammar."""
    key, _, value = line.partition("=")
    if value.startswith(("{", "[", "'", '"')) or value.replace("/", "").isalnum():
        return line
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{key}='{escaped}'"
