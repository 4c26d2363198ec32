"""One table over seeds: its numbers by hand, and what becomes of it when a training fails."""

from __future__ import annotations

import csv
import json
import signal
from pathlib import Path

import pytest
from hydra import initialize_config_dir

from tests.conftest import CONF, METHODS, SMALL, composed
from tests.processes import start, until
from tests.runs.test_stages import planned
from tests.test_launch import launch
from uda_hydra import tasks
from uda_hydra.engine.interrupt import Interrupted
from uda_hydra.errors import Unfinished, UserError
from uda_hydra.table import Kind, write
from uda_hydra.tasks.train import train_stage

ROWS = [Kind("source", {"a": 1}, ""), Kind("oracle", {"a": 1}, ""), Kind("ours", {"a": 2}, "x=3")]

TINY = ("experiment=streets_table", *SMALL, "trainer.steps=2", "trainer.save_every=1")
LEFT_OUT = ("longer", "statistics", "adaptsegnet", "advent", "maxsquare", "caco")
WITHOUT = tuple(f"~stages.{name}" for name in LEFT_OUT)
TUNED = "['method=minent','init=${stage:source}/last.pt','loss.lambda_ent=0.5']"


def finish(run: Path, stage: str, miou: float, *, a: int, **more: float) -> None:
    """What a finished training leaves."""
    folder = run / stage
    folder.mkdir(parents=True)
    result = {"miou/last": miou, "steps": 9, "seconds": 10.0, "peak_memory_gb": 1.0}
    result |= {"dataset": "streets", "seed": run.name[-1], "git commit": "abc"} | more
    (folder / "result.json").write_text(json.dumps(result))
    trained = {"a": a, "seed": run.name, "init": "<file>", "file": "${stage:warmup}/last.pt"}
    (folder / "identity.json").write_text(json.dumps({"config": trained}))


@pytest.fixture
def rows():
    return [r._replace(identity=r.identity | {"file": "${stage:warmup}/last.pt"}) for r in ROWS]


def cells(text: str, name: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {name}")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_mean_spread_and_gap_are_those_worked_out_by_hand(tmp_path, rows):
    for seed, (low, high, ours, seconds) in enumerate([(0.1, 0.3, 0.2, 10), (0.2, 0.4, 0.35, 20)]):
        run = tmp_path / f"seed{seed}"
        finish(run, "source", low, a=1)
        finish(run, "oracle", high, a=1)
        finish(run, "ours", ours, a=2, seconds=seconds, peak_memory_gb=1.0 + seed)
    text = write(tmp_path, rows)
    assert cells(text, "source")[1:3] == ["15.00 ± 7.07", "0.0 ± 0.0"]
    assert cells(text, "oracle")[1:3] == ["35.00 ± 7.07", "100.0 ± 0.0"]
    # 27.5 of 20 and 35; (50 + 75) / 2 per cent of the gap.
    assert cells(text, "ours") == [
        "ours",
        "27.50 ± 10.61",
        "62.5 ± 17.7",
        "9",
        "15",
        "2.00",
        "2",
        "x=3",
    ]
    assert "seeds 0, 1" in text
    assert "trained on target labels" in text
    assert "mIoU 13" not in text
    assert (tmp_path / "table.md").read_text() in text
    with (tmp_path / "table.csv").open() as file:
        ours = [*csv.DictReader(file)][2]
    assert float(ours["miou"]) == pytest.approx(27.5)
    assert float(ours["miou_spread"]) == pytest.approx(10.6066, abs=1e-4)
    assert float(ours["gap"]) == pytest.approx(62.5)
    assert (ours["training"], ours["seeds"], ours["note"]) == ("ours", "2", "x=3")


def test_what_is_not_finished_is_a_dash_and_what_is_different_is_left_out(tmp_path, rows):
    finish(tmp_path / "seed0", "source", 0.1, a=1, miou_13=0.2)
    finish(tmp_path / "seed1", "source", 0.3, a=1, miou_13=0.4)
    finish(tmp_path / "seed1", "ours", 0.5, a=99)
    text = write(tmp_path, rows)
    assert cells(text, "training")[1:3] == ["mIoU %", "mIoU 13 %"]
    # No oracle, no gap.
    assert cells(text, "source")[1:4] == ["20.00 ± 14.14", "30.00 ± 14.14", "-"]
    assert cells(text, "ours")[1:] == ["-", "-", "-", "-", "-", "-", "0", "x=3"]
    assert "Left out, trained with another config: seed1/ours." in text


def test_as_long_as_nothing_is_finished_there_is_no_table(tmp_path, rows):
    assert write(tmp_path / "none", rows) == ""
    assert not (tmp_path / "none").exists()


def test_every_method_that_is_one_training_has_a_row():
    lists = composed("experiment=streets_table").stages
    chosen = [line for own in lists.values() for line in own if line.startswith("method=")]
    assert {line.removeprefix("method=") for line in chosen} == set(METHODS)
    begins = {
        name
        for name, stage in planned("experiment=streets_table", "output=run").items()
        if stage.config.init == "run/source/last.pt"
    }
    assert begins == {*lists} - {"source"}
    assert "dataset.oracle=true" in lists.oracle


def test_a_row_is_what_its_method_is_alone():
    stages = planned("experiment=streets_table", *WITHOUT[:-1], "seed=1")
    assert stages["caco"].config.method.queue_length == 30
    for name, method in (("caco", "caco/contrast"), ("minent", "minent")):
        alone = composed(f"method={method}", "seed=1")
        assert stages[name].config.loss == alone.loss
        assert stages[name].config.method == alone.method
        assert stages[name].config.trainer == alone.trainer


@pytest.fixture
def run(streets, tmp_path):
    """Trains one seed of the table; the table's text."""

    def train(*overrides: str) -> str:
        given = [*TINY, f"dataset.root={streets}", f"table={tmp_path / 'table'}", *overrides]
        config = composed(*given)
        with initialize_config_dir(str(CONF), version_base="1.3"):
            tasks.run(config, given)
        return (tmp_path / "table/table.md").read_text()

    return train


def test_a_failed_training_costs_only_those_that_need_it(run, capsys, tmp_path):
    given = [*WITHOUT, "+stages.later=['method=minent','init=${stage:minent}/last.pt']"]
    given += [f"+stages.tuned={TUNED}", "+stage.minent.optimizer.lr=3e38"]
    with pytest.raises(Unfinished, match=r"2 of 5 trainings.*minent: step 2.*later: needs minent"):
        run(*given)
    assert "minent failed: step 2" in capsys.readouterr().err
    # Its half-trained weights are there, and nobody begins from them.
    assert (tmp_path / "table/seed0/minent/last.pt").is_file()
    text = (tmp_path / "table/table.md").read_text()
    seeds = {name: cells(text, name)[-2] for name in ("source", "oracle", "minent", "tuned")}
    assert seeds == {"source": "1", "oracle": "1", "minent": "0", "tuned": "1"}
    assert cells(text, "tuned")[-1] == "loss.lambda_ent=0.5"

    # Mended, the rest is trained and the finished rows stay as they are.
    before = (tmp_path / "table/seed0/tuned/result.json").stat().st_mtime_ns
    text = run(*given[:-1])
    assert cells(text, "later")[-2] == "1"
    assert (tmp_path / "table/seed0/tuned/result.json").stat().st_mtime_ns == before


def test_an_interrupted_seed_leaves_the_table_of_what_is_finished(run, tmp_path, monkeypatch):
    def stopped(stage, *rest, **more):
        if stage.name == "oracle":
            raise Interrupted(signal.SIGTERM, 1)
        return train_stage(stage, *rest, **more)

    monkeypatch.setattr("uda_hydra.tasks.train.train_stage", stopped)
    with pytest.raises(Interrupted):
        run(*WITHOUT)
    text = (tmp_path / "table/table.md").read_text()
    assert [cells(text, name)[-2] for name in ("source", "oracle")] == ["1", "0"]


def test_a_mistake_leaves_no_table(run, tmp_path):
    with pytest.raises(UserError, match=r"optimizer\.lr"):
        run(*WITHOUT, "+stage.minent.optimizer.lr=-1")
    assert not (tmp_path / "table").exists()


@pytest.mark.parametrize("output", ["elsewhere/seed0", "table"])
def test_a_run_must_lie_in_the_folder_of_its_table(run, tmp_path, output):
    with pytest.raises(UserError, match="output lies in that folder"):
        run(*WITHOUT, f"output={tmp_path / output}")


@pytest.mark.slow
def test_a_failed_seed_does_not_stop_the_others(tmp_path):
    given = [*TINY, *WITHOUT, "seed=0,1", "+stage.minent.optimizer.lr=3e38"]
    done = launch(tmp_path, *given)
    assert done.returncode == 1
    assert "1 of 3 trainings in outputs/tables/streets/seed0 failed" in done.stderr
    assert "Traceback" not in done.stderr
    assert "nothing to do" not in done.stdout
    text = (tmp_path / "outputs/tables/streets/table.md").read_text()
    assert [cells(text, name)[-2] for name in ("source", "oracle", "minent")] == ["2", "2", "0"]


@pytest.mark.slow
def test_a_signal_stops_all_seeds(tmp_path):
    given = [*TINY, *WITHOUT, "hydra.sweeper.params.seed='0,1'", "trainer.steps=100000"]
    table = tmp_path / "outputs/tables/streets"
    with start(tmp_path, *given) as process:
        until((table / "seed0/source/last.pt").exists, process)
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert not (table / "seed1").exists()
