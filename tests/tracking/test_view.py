"""The page of a study in MLflow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.tracking.conftest import Store
from uda_hydra.report import USUAL, browse
from uda_hydra.tracking.mlflow import close_parent, open_parent
from uda_hydra.tracking.view import link, view_of


@pytest.mark.parametrize("name", ["lambda_adv-advent-streets-1f", "Bob's study"])
def test_a_study_has_a_saved_view_of_its_trials(store: Store, tmp_path, name):
    folder = tmp_path / name
    options = {"params": ["seed"], "tags": ["state"], "ascending": False}
    open_parent(
        store.uri,
        store.experiment,
        name,
        folder,
        artifacts=store.artifacts,
        tags={"study": name},
        views=view_of(name, "miou/last", **options),
    )
    assert link(folder) is None
    final = {"study": name, "trial": "0", "final": "true"}
    store.train(folder / "trial/advent", parent=folder, steps=4, tags=final)
    store.train(folder / "trial/early", parent=folder, steps=4, tags={"study": name, "trial": "0"})
    store.train(folder / "other", steps=4, tags=final | {"study": "another"})
    close_parent(folder, "finished")

    page, _, query = link(folder).partition("?")
    experiment = store.client.get_experiment_by_name(store.experiment)
    assert page == f"http://127.0.0.1:5000/#/experiments/{experiment.experiment_id}/runs"
    kind, key = (part.split("=")[1] for part in query.split("&"))
    assert kind == "machine_learning"
    view = json.loads(experiment.tags[f"mlflow.sharedViewState.{key}"])
    found = store.client.search_runs(
        [experiment.experiment_id], view["searchFilter"], order_by=[f"{view['orderByKey']} DESC"]
    )
    assert [run.data.tags["folder"] for run in found] == [str(folder / "trial/advent")]
    assert view["selectedColumns"] == ["metrics.`miou/last`", "params.`seed`", "tags.`state`"]


def test_the_command_to_browse_is_the_one_of_make_ui():
    command = (
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui --workers 1 "
        "--backend-store-uri sqlite:///outputs/mlflow.db"
    )
    assert f"browse: {command}   (or: make ui)\n" in browse(Path("run"), USUAL)
    for name in ("Makefile", "conf/README.md"):
        text = (ROOT / name).read_text().replace("$(BIN)/", "").replace("\\\n", "")
        assert command in " ".join(text.split()), name
    uri = "postgresql://me:secret@host/runs"
    shown = "'postgresql://me:***@host/runs'   (with the password in place of ***)\n"
    assert shown in browse(Path("run"), uri)


def test_a_server_is_its_own_page(store: Store, tmp_path):
    (tmp_path / "mlflow.json").write_text('{"run_id": "1", "files": {}, "experiment": "7"}')
    for uri, page in {
        "http://me:secret@host:5000/": "http://me:***@host:5000/#/experiments/7/runs",
        "databricks": None,
    }.items():
        open_parent(uri, "x", "study", tmp_path, artifacts=tmp_path)
        assert (link(tmp_path) or "").partition("?")[0] == (page or "")
