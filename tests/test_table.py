"""One table over seeds: its numbers by hand, and what becomes of it when a training fails."""

from __future__ import annotations

import csv
import json
import math
import multiprocessing
import signal
from pathlib import Path

import numpy as np
import pytest
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from tests.conftest import CONF, METHODS, SMALL, STAGES, composed
from tests.processes import start, until
from tests.runs.test_stages import planned
from tests.test_launch import launch
from uda_hydra import build, tasks
from uda_hydra.data.labels import label_space
from uda_hydra.engine.events import Panel
from uda_hydra.engine.interrupt import Interrupted
from uda_hydra.errors import Unfinished, UserError
from uda_hydra.files import write_json
from uda_hydra.runs.results import write_result
from uda_hydra.runs.stages import Stage
from uda_hydra.studies.report.statistics import estimate
from uda_hydra.table import curves, keep, selection
from uda_hydra.table.analyse import TableAnalysis
from uda_hydra.table.rows import Kind, collect
from uda_hydra.table.sheet import draw_sheet
from uda_hydra.table.write import write
from uda_hydra.tasks.train import train_stage

NAMES = ("source", "statistics", "adabn", "oracle", "ours", "theirs", "labels")
INITS = {"ours": "${stage:source}/last.pt", "theirs": "${stage:ours}/last.pt"}
CONTROLS = ("source", "statistics", "adabn")
NOTES = {"ours": "x=3"}

TINY = ("experiment=table", *SMALL, "trainer.steps=2", "trainer.save_every=1")
KEPT = ("source", "oracle", "minent")
TABLE = composed("experiment=table")
LISTS = OmegaConf.to_container(TABLE.stages, resolve=False)
WITHOUT = tuple(f"~stages.{name}" for name in LISTS if name not in KEPT)
TUNED = "['method=minent','init=${stage:source}/last.pt','loss.lambda_ent=0.5']"


@pytest.fixture
def table(tmp_path):
    """Writes trainings that are made up, and the table of them."""
    return Table(tmp_path)


class Table:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def finish(
        self, stage: str, seed: int, miou: float, *, a: int = 1, init: str = "", **more: float
    ) -> Path:
        """What a finished training leaves."""
        folder = self.folder / f"seed{seed}" / stage
        folder.mkdir(parents=True)
        result = {"miou/last": miou, "steps": 9, "seconds": 60.0, "peak_memory_gb": 1.0}
        result |= {"dataset": "streets", "seed": str(seed), "git commit": "abc"} | more
        trained = {"a": a, "seed": seed, "init": init or INITS.get(stage, "<file>")}
        write_json(folder / "identity.json", {"config": trained})
        write_result(folder, result, {"config": trained})
        return folder

    def analysis(self) -> tuple[TableAnalysis, list[str]]:
        configs = {name: {"a": 1, "init": INITS.get(name, "<file>")} for name in NAMES}
        kinds = [Kind(name, own, NOTES.get(name, "")) for name, own in configs.items()]
        rows, left_out = collect(self.folder, kinds)
        return TableAnalysis(rows, CONTROLS), left_out

    def write(self) -> str:
        return write(self.folder, *self.analysis(), skipped={})

    def numbers(self, name: str) -> dict[str, str]:
        with (self.folder / "table.csv").open() as file:
            return next(row for row in csv.DictReader(file) if row["training"] == name)


def cells(text: str, name: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {name} ")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_mean_spread_and_gap_are_those_worked_out_by_hand(table):
    for seed, (low, high, ours, seconds) in enumerate([(0.1, 0.3, 0.2, 60), (0.2, 0.4, 0.35, 120)]):
        table.finish("source", seed, low)
        table.finish("oracle", seed, high)
        own = {"iou/road": 0.5 + 0.1 * seed, "iou/sky": None}
        table.finish("ours", seed, ours, seconds=seconds, **own)
    text = table.write()
    # 27.5 of 20 and 35; (50 + 75) / 2 per cent of the gap.
    mine = ["ours", "27.50 ± 10.61", "62.5 ± 17.7", "+12.50 [-19.27, +44.27]", "9", "1.5", "2"]
    assert cells(text, "ours") == mine
    assert cells(text, "source")[1:4] == ["15.00 ± 7.07", "0.0 ± 0.0", "-"]
    assert cells(text, "oracle")[1:3] == ["35.00 ± 7.07", "100.0 ± 0.0"]
    assert "seeds 0, 1; commit abc" in text
    assert "trained on target labels" in text
    assert "ours: x=3." in text
    assert "mIoU 13" not in text
    assert max(map(len, text.splitlines()[:8])) <= 110
    assert (table.folder / "table.md").read_text() == text
    ours = table.numbers("ours")
    assert float(ours["miou"]) == pytest.approx(27.5)
    assert float(ours["miou_spread"]) == pytest.approx(10.6066, abs=1e-4)
    assert float(ours["gap_closed"]) == pytest.approx(62.5)
    assert float(ours["iou/road"]) == pytest.approx(55)
    assert float(ours["iou/road_spread"]) == pytest.approx(7.0711, abs=1e-4)
    with (table.folder / "trainings.csv").open() as file:
        each = [line for line in csv.DictReader(file) if line["training"] == "ours"]
    assert [(line["seed"], line["miou"], line["iou/road"]) for line in each] == [
        ("0", "20", "50"),
        ("1", "35", "60"),
    ]
    assert each[0]["seconds"] == "60" and each[0]["git commit"] == "abc"
    # A class that the validation labels lack.
    assert ours["iou/sky"] == ""
    assert (ours["seeds"], ours["note"], ours["peak_memory_gb"]) == ("2", "x=3", "1")


def test_an_oracle_below_the_source_leaves_no_gap_to_close(table):
    for seed, (low, high, ours) in enumerate([(0.5, 0.495, 0.51), (0.1, 0.3, 0.2)]):
        for name, miou in (("source", low), ("oracle", high), ("ours", ours)):
            table.finish(name, seed, miou)
    assert cells(table.write(), "ours")[2] == "50.0"


def test_every_row_is_paired_with_the_best_control(table):
    for seed, source in enumerate((0.10, 0.20, 0.30)):
        table.finish("source", seed, source)
        table.finish("statistics", seed, source + 0.05)
        table.finish("adabn", seed, source + 0.10)
        # Differences to adabn of 1, 2 and 3: mean 2, deviation 1, t = 4.3027 at two degrees.
        table.finish("ours", seed, source + 0.11 + 0.01 * seed)
        table.finish("theirs", seed, source + 0.12 + 0.001 * seed)
        # Makes labels alone: no adaptation.
        table.finish("labels", seed, source + 0.12 + 0.001 * seed)
    text = table.write()
    assert cells(text, "training")[3] == "minus adabn [95 %]"
    found = {name: cells(text, name)[3] for name in NAMES}
    assert found["ours"] == "+2.00 [-0.48, +4.48]"
    assert found["theirs"] == "+2.10 [+1.85, +2.35]"
    assert found["statistics"] == "-5.00 [-5.00, -5.00]"
    assert (found["adabn"], found["oracle"]) == ("-", "-")
    assert "Against adabn, more: theirs; less: none; not distinguishable: ours." in text
    ours = table.numbers("ours")
    ends = [float(ours[f"minus_control{end}"]) for end in ("", "_low", "_high")]
    assert ends == pytest.approx([2, 2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)])
    assert ours["control"] == "adabn"


def test_with_missing_seeds_only_equal_ones_are_compared(table):
    for seed, source in enumerate((0.10, 0.20, 0.30)):
        table.finish("source", seed, source)
    # Alone on a good seed it would look better than source.
    table.finish("statistics", 2, 0.29)
    table.finish("ours", 1, 0.25)
    text = table.write()
    assert "Best control over seeds 2: source (source 30.00, statistics 29.00)" in text
    # One seed: a difference without an interval, and no verdict.
    assert cells(text, "ours")[3] == "+5.00"
    assert cells(text, "theirs")[1:4] == ["-", "-", "-"]
    assert "more: none; less: none; not distinguishable: ours." in text
    assert table.numbers("ours")["minus_control_low"] == ""


def test_a_difference_of_fewer_seeds_than_the_row_has_says_so(table):
    for seed, (source, ours) in enumerate([(0.10, 0.15), (0.20, 0.27), (None, 0.50)]):
        table.finish("ours", seed, ours)
        if source is not None:
            table.finish("source", seed, source)
    line = cells(table.write(), "ours")
    assert (line[3], line[-1]) == ("+6.00 [-6.71, +18.71] (n = 2)", "3")
    assert table.numbers("ours")["minus_control_n"] == "2"


def test_what_is_not_finished_is_a_dash_and_what_is_different_is_left_out(table):
    table.finish("source", 0, 0.1, miou_13=0.2)
    table.finish("source", 1, 0.3, miou_13=0.4)
    table.finish("ours", 1, 0.5, a=99)
    table.finish("adabn", 1, 0.5, init="${stage:statistics}/last.pt")
    text = table.write()
    assert cells(text, "training")[1:3] == ["mIoU %", "mIoU 13 %"]
    # No oracle, no gap.
    assert cells(text, "source")[1:4] == ["20.00 ± 14.14", "30.00 ± 14.14", "-"]
    assert cells(text, "ours")[1:] == ["-", "-", "-", "-", "-", "-", "0"]
    assert "Left out, trained with another config or from such a training: seed1/adabn, " in text


def test_what_was_trained_from_what_is_left_out_is_left_out_too(table):
    for seed in (0, 1):
        table.finish("source", seed, 0.1, a=1 + seed)
        for name in ("statistics", "ours", "theirs"):
            table.finish(name, seed, 0.2)
    text = table.write()
    assert "such a training: seed1/source, seed1/ours, seed1/theirs." in text
    seeds = {name: cells(text, name)[-1] for name in ("source", "statistics", "ours", "theirs")}
    assert seeds == {"source": "1", "statistics": "2", "ours": "1", "theirs": "1"}


def test_a_choice_without_labels_and_what_it_costs(table):
    # Entropy would choose theirs; in its order of 4 models one pair of six is exchanged.
    for name, miou, entropy in (
        ("source", 0.1, 0.9),
        ("statistics", 0.2, 0.8),
        ("ours", 0.4, 0.5),
        ("theirs", 0.3, 0.4),
        # Makes labels alone: no model of its own.
        ("labels", 0.3, 0.4),
    ):
        folder = table.finish(name, 0, miou, **{"entropy/target": entropy})
        values = {"miou/last": miou, "entropy/target": entropy}
        later = values | {"entropy/target": entropy + 0.01}
        logged = {1: {"loss/seg": 1.0}, 5: values, 9: later}
        steps = [{"step": step, "time": 0, "values": own} for step, own in logged.items()]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(s) + "\n" for s in steps))
    table.finish("oracle", 0, 0.9, **{"entropy/target": 0.1})
    analysis, _ = table.analysis()
    found = selection.choose(selection.models(analysis, selection.FINAL), "entropy/target")
    assert (found.count, found.chosen, found.best) == (4, "theirs seed 0", "ours seed 0")
    assert (found.spearman, found.kendall) == pytest.approx((1 - 6 * 2 / 60, (5 - 1) / 6))
    assert found.best_miou - found.chosen_miou == pytest.approx(10)
    assert selection.choose(selection.models(analysis, selection.FINAL), "snd/target") is None
    selection.write(table.folder, analysis)
    with (table.folder / "selection.csv").open() as file:
        rows = [*csv.DictReader(file)]
    assert [(row["models"], row["n"]) for row in rows] == [("last", "4"), ("every evaluation", "8")]
    costs = [(row["lost"], row["random loses"]) for row in rows]
    assert costs == [("10.00", "15.00"), ("10.00", "15.00")]
    assert rows[1]["chosen"] == "theirs seed 0 step 5"


def test_curves_are_means_over_the_seeds_that_were_scored_there(table):
    for seed, steps in enumerate(({5: 0.1, 9: 0.2}, {5: 0.3})):
        folder = table.finish("ours", seed, 0.2)
        lines = [{"step": s, "time": 0, "values": {"miou/last": v}} for s, v in steps.items()]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    folder = table.finish("theirs", 0, 0.2)
    (folder / "metrics.jsonl").write_text("[]\n")
    curves.write(table.folder, table.analysis()[0])
    text = (table.folder / "curves.csv").read_text()
    assert text.splitlines()[1:] == ["ours,5,20,14.1421,2", "ours,9,20,,1"]
    assert (table.folder / "curves.png").stat().st_size > 1000


def test_no_two_rows_of_a_long_table_are_drawn_alike():
    own = {200: estimate([30.0]), 400: estimate([31.0])}
    (axes,) = curves.draw({f"row{number}": own for number in range(40)}).axes
    looks = [(line.get_color(), line.get_linestyle(), line.get_marker()) for line in axes.lines]
    assert len({*looks}) == len(looks) == 40


def test_what_cannot_be_drawn_costs_a_warning(table, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("CUDA out of memory")

    folder = table.finish("ours", 0, 0.2)
    # A row that was scored before its first step alone.
    line = {"step": 0, "time": 0, "values": {"miou/last": 0.2}}
    (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    stages = [Stage("ours", OmegaConf.create({"output": str(folder)}))]
    monkeypatch.setattr("uda_hydra.table.sheet.write_sheet", fail)
    keep._draw(table.folder, stages, table.analysis()[0])
    assert (table.folder / "curves.png").is_file()
    assert "could not be drawn: CUDA out of memory" in caplog.text
    monkeypatch.setattr("uda_hydra.table.curves.write", fail)
    monkeypatch.setattr("uda_hydra.table.sheet.write_sheet", lambda path, _: path.touch())
    keep._draw(table.folder, stages, table.analysis()[0])
    assert (table.folder / "seed0/sheet.png").is_file()


def test_the_sheet_shows_images_labels_and_every_row():
    space = label_space("cityscapes19")

    def panel(prediction: int) -> Panel:
        maps = [np.full((20, 40), value, np.uint8) for value in (2, prediction)]
        return Panel("a", np.full((20, 40, 3), 77, np.uint8), *maps, np.ones((20, 40), np.float32))

    sheet = np.asarray(draw_sheet({"ours": [panel(0)] * 4, "theirs": [panel(1)] * 4}, space))
    # Strips of 140 pixels, each with 24 for its name above and a gap of 8; 20 around all.
    centres = [20 + 24 + 70 + place * (24 + 140 + 8) for place in range(4)]
    expected = [(77, 77, 77), *(space.colours[number] for number in (2, 0, 1))]
    for left in (160, 160 + 3 * 288):
        assert [tuple(sheet[y, left].tolist()) for y in centres] == expected


def test_every_method_that_is_one_training_has_a_row():
    chosen = [line for own in LISTS.values() for line in own if line.startswith("method=")]
    rows = {line.removeprefix("method=") for line in chosen}
    # Stages before a method's last one may only prepare it.
    before = {
        line.removeprefix("method=")
        for stages in STAGES.values()
        for own in [*stages.values()][:-1]
        for line in own
    }
    # These need a network of their own.
    before |= {"hrda", "mic/hrda"}
    assert {*METHODS} - before <= rows <= {*METHODS}
    assert {*TABLE.controls} < {*LISTS} - {"oracle"}
    # From the source model, or from a stage before; the last stage of ProCA as the source model.
    begin = {name for name, own in LISTS.items() if any("init=${stage:" in line for line in own)}
    assert {*LISTS} - begin == {"source", "proca_ssl", "dinov2"}
    assert not any(line.startswith("init=") for line in LISTS["proca_ssl"] + LISTS["source"])
    assert "dataset.oracle=true" in LISTS["oracle"]


def test_a_row_is_what_its_method_is_alone():
    left_out = [line for line in WITHOUT if line != "~stages.caco"]
    stages = planned("experiment=table", *left_out, "seed=1")
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


def test_no_worker_outlives_a_failed_training(run, tmp_path, capsys):
    """At its end Python would wait for it for ever."""
    read = [f"dataset.root={tmp_path}", "dataset.cache=false", "trainer.workers=1"]
    for sample in build.pair(composed(*TINY, *read)).source.images.samples:
        sample.image.write_bytes(sample.image.read_bytes()[:500])
    with pytest.raises(Unfinished, match=r"3 of 3 trainings.*source: .*png is cut short"):
        run(*WITHOUT, *read)
    assert not multiprocessing.active_children()
    # Where it came from in the worker says nothing to the user.
    assert "Traceback" not in capsys.readouterr().err


def test_a_failed_training_costs_only_those_that_need_it(run, capsys, tmp_path):
    given = [*WITHOUT, "+stages.later=['method=minent','init=${stage:minent}/last.pt']"]
    given += [f"+stages.minent_tuned={TUNED}"]
    given += ["+stages.large=['init=nowhere.pt']", "optional=[large]"]
    given += ["+stages.larger=['init=${stage:large}/last.pt']", "+stage.minent.optimizer.lr=3e38"]
    with pytest.raises(Unfinished, match=r"2 of 5 trainings.*minent: step 2.*later: needs minent"):
        run(*given)
    assert "minent failed: step 2" in capsys.readouterr().err
    # Its half-trained weights are there, and nobody begins from them.
    assert (tmp_path / "table/seed0/minent/last.pt").is_file()
    text = (tmp_path / "table/table.md").read_text()
    seeds = {name: cells(text, name)[-1] for name in ("source", "oracle", "minent", "minent_tuned")}
    assert seeds == {"source": "1", "oracle": "1", "minent": "0", "minent_tuned": "1"}
    assert "minent_tuned: tuned on other data: loss.lambda_ent=0.5." in text
    assert "- Skipped: large. init=nowhere.pt: there is no such file." in text
    assert "- Skipped: larger. It needs large." in text
    assert (tmp_path / "table/seed0/sheet.png").is_file()

    # Mended, the rest is trained and the finished rows stay as they are.
    before = (tmp_path / "table/seed0/minent_tuned/result.json").stat().st_mtime_ns
    text = run(*given[:-1])
    assert cells(text, "later")[-1] == "1"
    assert (tmp_path / "table/seed0/minent_tuned/result.json").stat().st_mtime_ns == before


def test_an_interrupted_seed_leaves_the_table_of_what_is_finished(run, tmp_path, monkeypatch):
    def stopped(stage, *rest, **more):
        if stage.name == "oracle":
            raise Interrupted(signal.SIGTERM, 1)
        return train_stage(stage, *rest, **more)

    monkeypatch.setattr("uda_hydra.tasks.train.train_stage", stopped)
    with pytest.raises(Interrupted):
        run(*WITHOUT)
    text = (tmp_path / "table/table.md").read_text()
    assert [cells(text, name)[-1] for name in ("source", "oracle")] == ["1", "0"]
    # Who stops a run does not wait for pictures.
    assert not (tmp_path / "table/seed0/sheet.png").exists()


def test_a_mistake_leaves_no_table(run, tmp_path):
    with pytest.raises(UserError, match=r"optimizer\.lr"):
        run(*WITHOUT, "+stage.minent.optimizer.lr=-1")
    assert not (tmp_path / "table").exists()


def test_one_training_that_is_left_is_no_table(run):
    only = [f"~stages.{name}" for name in LISTS if name not in ("source", "dinov2")]
    with pytest.raises(UserError, match=r"several trainings.* dinov2: init=data/weights"):
        run(*only)


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
    assert [cells(text, name)[-1] for name in ("source", "oracle", "minent")] == ["2", "2", "0"]


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
