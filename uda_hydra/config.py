"""Config nodes as plain values and dataclasses, and values as overrides."""

from __future__ import annotations

import re
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
    """``key=text`` with the text quoted where Hydra's grammar would read something else in it."""
    key, _, text = line.partition("=")
    if text.isascii() and text.replace("/", "").replace("_", "").isalnum():
        return line
    # A backslash counts only before a quote, and at the end.
    escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), text)
    return f"{key}='{escaped}'"


def mask(uri: str) -> str:
    """A URI without its password and without options that are named like one."""
    uri = re.sub(r"(://[^:/@]*):.*@", r"\1:***@", uri, flags=re.DOTALL)
    secret = r"([?&;][^=&;]*(?:password|passwd|pwd|token|secret)[^=&;]*=)[^&;]*"
    return re.sub(secret, r"\1***", uri, flags=re.IGNORECASE)
