"""Config values and names in MLflow's form."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from uda_hydra.files import digest_of, flat, mask, masked

PLACES = re.compile(r"output|start\.folder|trial\..*")
"""Keys for where a run's files are; they do not change what it computes."""


def parameters(config: Mapping[str, Any]) -> dict[str, str]:
    """The parameters of a run: all values of its config except ``PLACES``, without passwords."""
    return {k: mask(value) for k, value in flatten(config).items() if not PLACES.fullmatch(k)}


def flatten(config: Mapping[str, Any]) -> dict[str, str]:
    """Nested values as dotted names; lists stay whole, and everything is written as in YAML."""
    return {
        legal(name): value if isinstance(value, str) else json.dumps(value, default=str)
        for name, value in flat(config).items()
    }


def source(tags: Mapping[str, str]) -> dict[str, str]:
    """MLflow's own tags of the command and the commit among a run's tags."""
    found = {}
    if command := tags.get("command"):
        # A page shows a LOCAL source from its last slash on, and a JOB's in full.
        found = {"mlflow.source.name": command, "mlflow.source.type": "JOB"}
    commit = tags.get("git commit", "unknown").removesuffix("-dirty")
    return found if commit == "unknown" else found | {"mlflow.source.git.commit": commit}


def dataset(facts: Mapping[str, str], config: Mapping[str, Any]) -> dict[str, str] | None:
    """What MLflow's ``Dataset`` is made of; None where the facts name no data.

    Its digest changes with the files, its source is the config that finds or generates them.
    """
    if "dataset" not in facts:
        return None
    fingerprint = facts.get("dataset fingerprint", "")
    return {
        "name": facts["dataset"],
        "digest": digest_of(fingerprint),
        "source_type": "uda_hydra",
        "source": json.dumps(masked(config.get("dataset", {})), default=str),
        "profile": json.dumps({"fingerprint": fingerprint}),
    }


def legal(name: str) -> str:
    """``name`` with the characters and the length that MLflow allows."""
    return re.sub(r"[^\w/ :.-]", "_", name)[:250]
