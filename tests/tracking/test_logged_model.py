"""The network of a finished training as a model of MLflow's."""

from __future__ import annotations

import mlflow
import torch

from tests.conftest import composed
from uda_hydra import build
from uda_hydra.models.checkpoints.loading import load_weights
from uda_hydra.tracking.backlog import send_all


def test_weights_are_logged_once_as_a_model_that_can_be_registered(store, tmp_path, monkeypatch):
    network = build.network(composed("dataset=streets", "model=deeplabv2_tiny"))
    state = {f"segmenter.{name}": tensor.clone() for name, tensor in network.state_dict().items()}
    torch.save({"method": state | {"critic.weight": torch.ones(9)}}, tmp_path / "best.pt")
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    options = {"weights": "best", "tags": {"method": "mic/hrda"}}
    store.train(tmp_path, steps=1, status="interrupted", **options)
    experiment = store.client.get_experiment_by_name(store.experiment).experiment_id
    assert store.client.search_logged_models([experiment]) == []
    store.train(tmp_path, steps=2, start=1, **options)
    (tmp_path / "mlflow.json").unlink()
    assert send_all(tmp_path).failures == {}
    (model,) = store.client.search_logged_models([experiment])
    assert (model.name, model.status.name, model.model_type) == (
        "mic-hrda-best",
        "READY",
        "segmentation",
    )
    (run,) = store.runs()
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]

    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    assert mlflow.register_model(f"models:/{model.model_id}", "network").version == 1
    folder = mlflow.artifacts.download_artifacts("models:/network/1", dst_path=str(tmp_path / "x"))
    for tensor in network.state_dict().values():
        tensor.zero_()
    load_weights(network, f"{folder}/weights.safetensors")
    assert all(torch.equal(t, state[f"segmenter.{n}"]) for n, t in network.state_dict().items())
