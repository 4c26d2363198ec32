"""The network of a finished training as a logged model, which ``mlflow`` can register."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from uda_hydra.models.checkpoints.export import ours, write_ours
from uda_hydra.models.checkpoints.layouts import OURS
from uda_hydra.models.checkpoints.reading import read_checkpoint
from uda_hydra.tracking.record import RunRecord

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.entities import Run as StoredRun

    from uda_hydra.tracking.mlflow_store import Store

FLAVOR = "uda_hydra"
WEIGHTS, CONFIG = "weights.safetensors", "config.yaml"


def log_model(store: Store, run: StoredRun, record: RunRecord, folder: Path) -> None:
    """Log the weights that the record asks for, unless they are logged already.

    The model holds the network alone, as ``init=FILE`` reads it, and the config of its training. A
    model that an earlier attempt left unfinished is filled.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    client, run_id = store.client, run.info.run_id
    found = client.search_logged_models([store.experiment], f"source_run_id = '{run_id}'")
    if any(model.status == LoggedModelStatus.READY for model in found):
        return
    model = found[0] if found else _create(store, run_id, record)
    with TemporaryDirectory() as draft:
        _write(Path(draft), folder, record.weights, run_id, model.model_id)
        store.artifacts(model.artifact_location).log_artifacts(draft)
    # A page shows a run's models by its outputs.
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)


def _create(store: Store, run_id: str, record: RunRecord) -> LoggedModel:
    method = record.tags.get("method", "model").replace("/", "-")
    return store.client.create_logged_model(
        store.experiment,
        name=f"{method}-{record.weights}",
        source_run_id=run_id,
        model_type="segmentation",
        tags={key: v for key, v in record.tags.items() if not key.startswith("mlflow.")},
    )


def _write(draft: Path, folder: Path, which: str, run_id: str, model_id: str) -> None:
    """Fill the folder ``draft`` with MLflow's description, the weights and the config."""
    from mlflow.models import Model

    checkpoint = read_checkpoint(str(folder / f"{which}.pt"), take=OURS.take)
    write_ours(draft / WEIGHTS, ours(checkpoint))
    (draft / CONFIG).write_bytes((folder / CONFIG).read_bytes())
    description = Model(run_id=run_id, model_id=model_id)
    description.add_flavor(FLAVOR, weights=WEIGHTS, config=CONFIG)
    description.save(str(draft / "MLmodel"))
