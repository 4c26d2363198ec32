"""The page of MLflow that shows the trainings of a study side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from uda_hydra.files import digest_of, mask
from uda_hydra.tracking.record import RunRecord
from uda_hydra.tracking.sender import read_notes
from uda_hydra.tracking.uri import is_database, is_server

LOCAL = "http://127.0.0.1:5000"
"""Where ``mlflow ui`` (``make ui``) shows a store that is no server."""
SHARED_VIEW = "mlflow.sharedViewState."
"""What MLflow's pages call a view that is kept with an experiment, before its key."""


def search(study: str) -> str:
    """MLflow's search for the trainings that gave the trials' scores, one for each trial."""
    quote = '"' if "'" in study else "'"
    return f"tags.study = {quote}{study}{quote} and tags.final = 'true'"


def view_of(
    study: str, objective: str, *, params: Sequence[str], tags: Sequence[str], ascending: bool
) -> dict[str, str]:
    """The saved view of a study's trainings, the best by ``objective`` first, by its key.

    ``params`` and ``tags`` are its columns, after the objective.
    """
    columns = [f"metrics.`{objective}`", *(f"params.`{key}`" for key in params)]
    state = {
        "searchFilter": search(study),
        "orderByKey": f"metrics.`{objective}`",
        "orderByAsc": ascending,
        "selectedColumns": columns + [f"tags.`{key}`" for key in tags],
    }
    return {SHARED_VIEW + _key(study): json.dumps(state)}


def pages_of(uri: str) -> str:
    """Where MLflow shows a store: at a server itself, and all else where ``mlflow ui`` does."""
    return mask(uri).rstrip("/") if is_server(uri) else LOCAL


def link(folder: Path) -> str | None:
    """The address of the view of the study in ``folder``; None until MLflow has the study's run."""
    record, notes = RunRecord.read(folder), read_notes(folder)
    if record is None or not notes["experiment"]:
        return None
    if not (is_server(record.uri) or is_database(record.uri)):
        return None
    return (
        f"{pages_of(record.uri)}/#/experiments/{notes['experiment']}/runs"
        f"?workflowType=machine_learning&viewStateShareKey={_key(folder.name)}"
    )


def _key(study: str) -> str:
    return digest_of(study, length=16)
