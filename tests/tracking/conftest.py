from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.label_spaces import space
from uda_hydra.engine.events import Evaluation, Run
from uda_hydra.engine.scores import Scores
from uda_hydra.tracking import mlflow as tracking
from uda_hydra.tracking import mlflow_store
from uda_hydra.tracking.database import create_database
from uda_hydra.tracking.mlflow import Tracking
from uda_hydra.tracking.mlflow_store import connect

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as StoredRun


def evaluation(step: int) -> Evaluation:
    """Road 3 of 4 pixels right, the fourth taken for a light; IoU 3/4 and 0; nothing is a bus."""
    confusion = np.array([[3, 1, 0], [0, 0, 0], [0, 0, 0]])
    return Evaluation(step, Scores(confusion, space("road", "traffic light", "bus")), 0.5, ())


class Store:
    """A database of this test session, with one experiment per test."""

    def __init__(self, folder: Path, experiment: str) -> None:
        self.uri = f"sqlite:///{folder}/mlflow.db"
        self.artifacts = folder / "artifacts"
        self.experiment = experiment

    def tracking(self, **options: Any) -> Tracking:
        options = {"uri": self.uri, "artifacts": self.artifacts} | options
        return Tracking(experiment=self.experiment, **options)

    evaluation = staticmethod(evaluation)

    def train(
        self,
        folder: Path,
        *,
        steps: int,
        start: int = 0,
        status: str = "finished",
        config: dict[str, Any] | None = None,
        facts: dict[str, str] | None = None,
        **options: Any,
    ) -> None:
        """A training whose loss at step s is 1 / s and that is evaluated at every fourth step."""
        callback = self.tracking(**options)
        run = Run("caco on streets", folder, 100, start, config or {"seed": 0}, facts or {})
        callback.on_start(run)
        for step in range(start + 1, steps + 1):
            callback.on_log(step, {"loss/seg": 1 / step})
            if step % 4 == 0:
                callback.on_evaluate(evaluation(step))
        callback.on_end(status)

    @property
    def client(self) -> MlflowClient:
        return connect(self.uri)

    def runs(self) -> list[StoredRun]:
        experiment = self.client.get_experiment_by_name(self.experiment)
        return self.client.search_runs([experiment.experiment_id])

    def history(self, name: str) -> list[tuple[int, float]]:
        """Step and value of every point, in order, of the experiment's only run."""
        (run,) = self.runs()
        points = self.client.get_metric_history(run.info.run_id, name)
        return sorted((point.step, point.value) for point in points)


@pytest.fixture(scope="session")
def blank(tmp_path_factory):
    """A database of MLflow's without runs, which takes MLflow seconds to make."""
    path = tmp_path_factory.mktemp("blank") / "mlflow.db"
    create_database(path, mlflow_store._fill, mlflow_store.current_schema())
    return path


@pytest.fixture(scope="session")
def store_folder(tmp_path_factory, blank):
    folder = tmp_path_factory.mktemp("store")
    shutil.copy(blank, folder)
    return folder


@pytest.fixture
def store(store_folder, request, monkeypatch):
    # A busy machine may need longer than a user is asked to wait.
    monkeypatch.setattr(tracking, "PATIENCE", 60.0)
    return Store(store_folder, request.node.name)
