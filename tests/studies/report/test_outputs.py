"""The files of a report: whole in one file, the same every time, and what the figures draw."""

from __future__ import annotations

import base64
import random
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from tests.studies.made import KEY, curve, trial
from tests.studies.report.test_findings import CLEAR
from tests.studies.report.test_many_keys import grid, two_curves
from uda_hydra.files import write_json
from uda_hydra.studies.report import class_heatmap, plot_1d, plot_tradeoffs
from uda_hydra.studies.report.analyse import StudyAnalysis
from uda_hydra.studies.report.trainings import run_of
from uda_hydra.studies.report.write import text as report_text
from uda_hydra.studies.report.write import write
from uda_hydra.tracking.metric_log import MetricLog
from uda_hydra.tracking.record import RunRecord
from uda_hydra.tracking.sender import NOTES

CLASSES = ("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light")
CLASSES += ("traffic sign", "vegetation", "sky", "person", "rider", "car", "bus", "motorcycle")
CLASSES += ("bicycle",)
VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Tags that are open, and the attributes of all."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def sixteen(value, seed):
    ious = {
        f"iou/{name}": (50 + place + seed + 1000 * value) / 100
        for place, name in enumerate(CLASSES)
    }
    return {**ious, "miou_13": 0.6 + value}


def full():
    return curve(
        CLEAR,
        results=lambda value, seed: {
            **sixteen(value, seed),
            "entropy/target": 0.4 - value,
            "snd/target": 2.0 - value,
            "miou/source_val": 0.6 + value,
        },
        extra=[lambda n: trial(n, {KEY: 0.001}, 9, 0.0, state="failed", note="a <b> & c")],
        question='Does <script>alert("x")</script> matter?',
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write(full(), tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def page(written):
    reader = Reader()
    reader.feed(written.page.read_text())
    return reader


def test_page_is_whole_and_well_formed(page, written):
    assert page.open == []
    tags = {tag for tag, _ in page.seen}
    assert not tags & {"script", "link", "iframe", "object"}
    addresses = [a[name] for _, a in page.seen for name in ("src", "href") if name in a]
    pictures = [one for one in addresses if one.startswith("data:image/png;base64,")]
    assert len(pictures) == len(written.figures)
    # What is linked lies beside the page or below the study.
    others = {*addresses} - {*pictures}
    beside = {path.name for path in written.page.parent.iterdir()}
    assert all(one in beside or "trials/" in one for one in others)
    assert beside >= {"interactive.html", "response.pdf"} and "interactive.html" in others
    assert not re.search(r"https?://|url\(|@import", written.page.read_text())


def test_every_figure_is_in_the_page_and_beside_it_and_told_in_words(page, written):
    images = [attributes for tag, attributes in page.seen if tag == "img"]
    inside = [base64.b64decode(one["src"].partition(",")[2]) for one in images]
    assert inside == [path.read_bytes() for path in written.figures]
    assert [p.name for p in written.figures] == ["response.png", "classes.png", "label_free.png"]
    assert all(len(one["alt"]) > 20 for one in images)


def test_figures_are_fit_for_print(written, resolution):
    image = (written.page.parent / "response.png").read_bytes()
    # The header of a PNG begins with the width in pixels; the figure is 7 inches wide.
    assert int.from_bytes(image[16:20], "big") == 7 * 40
    assert resolution == 300
    vectors = (written.page.parent / "response.pdf").read_bytes()
    assert vectors.startswith(b"%PDF") and b"/Type3" not in vectors


def test_page_holds_the_command_the_facts_the_faults_and_no_markup_of_others(written):
    text = written.page.read_text()
    assert "python launch.py sweep=lambda_adv" in text and "2.15.0" in text
    assert "a &lt;b&gt; &amp; c" in text and "<script>" not in text


def test_the_same_study_gives_the_same_bytes_in_any_order(written, tmp_path):
    made = full()
    trials = list(made.trials)
    random.Random(0).shuffle(trials)
    again = write(replace(made, trials=tuple(trials)), tmp_path)
    files = sorted(p.name for p in written.page.parent.iterdir())
    assert files == sorted(p.name for p in tmp_path.iterdir())
    for name in files:
        assert (tmp_path / name).read_bytes() == (written.page.parent / name).read_bytes(), name
    assert again.text == written.text


@pytest.mark.parametrize(
    "made",
    [full, two_curves, grid, lambda: curve({0.001: [40.0]}), lambda: curve(CLEAR, results=None)],
    ids=["full", "curves", "many", "one", "plain"],
)
def test_summary_fits_a_terminal(made, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = report_text(made()).splitlines()
    assert len(lines) < 40
    # The table of one key does. A command stays one line, to be copied.
    wide = [line for line in lines if len(line) > 80 and "launch.py" not in line]
    assert not wide or made in (grid, two_curves)
    assert all(line.startswith(" ") or "95 % CI" in line for line in wide)


def test_other_kinds_of_study_are_drawn_without_a_warning_and_replace_each_other(tmp_path):
    names = [path.name for path in write(grid(), tmp_path).figures]
    assert names == ["importance.png", "slices.png", "pairs.png", "parallel.png"]
    # No process has this number: the one that had it was killed.
    half = tmp_path / f".response.png.{2**22 + 1}.tmp"
    half.write_bytes(b"half")
    figures = write(two_curves(), tmp_path).figures
    names = [path.name for path in figures]
    assert names[0] == "response.png" and "importance.png" in names
    assert {*tmp_path.glob("*.png")} == {*figures}
    assert {path.stem for path in tmp_path.glob("*.pdf")} == {path.stem for path in figures}
    assert not half.exists()


def with_files(made, folder):
    """The study in a folder with the logs of its trainings, their shared start, and an oracle."""
    config = {"method.name": "plain", "model.depth": 5, "dataset.name": "streets"}

    def keep(path, config, result):
        write_json(path / "identity.json", {"config": config})
        write_json(path / "result.json", result)

    place = folder / "studies" / made.name
    trials = [replace(t, folder=place / f"trials/{t.number:04}") for t in made.trials]
    for one in trials:
        stage = one.folder / "adapt"
        stage.mkdir(parents=True)
        write_json(one.folder / "folder.json", {"kind": "training", "stages": ["start", "adapt"]})
        keep(stage, config, one.result)
        log = MetricLog(stage, 0)
        log.append(10, {"loss/seg": 1.0})
        log.append(20, {"miou/last": one.result["miou/last"] - 0.1})
        log.append(40, {"miou/last": one.result["miou/last"]})
        log.close()
    start = place / "start/start-1a2b3c4d"
    start.mkdir(parents=True)
    keep(start, config, {"miou/last": 0.33})
    for seed, (depth, miou) in enumerate([(5, 0.7), (5, 0.72), (7, 0.9)]):
        oracle = folder / f"tables/streets/seed{seed}/oracle"
        oracle.mkdir(parents=True)
        keep(oracle, config | {"model.depth": depth, "seed": seed}, {"miou/last": miou})
    elsewhere = folder / "tables/streets/seed3/oracle"
    elsewhere.mkdir(parents=True)
    keep(elsewhere, config | {"evaluation.mirror": True, "seed": 3}, {"miou/last": 0.95})
    return replace(made, folder=place, trials=tuple(trials))


def test_logs_starts_oracles_and_folders_of_the_trainings_are_in_the_report(tmp_path):
    made = with_files(curve(CLEAR), tmp_path)
    found = write(made)
    assert "learning.png" in [path.name for path in found.figures]
    analysis = StudyAnalysis(made)
    curves = plot_tradeoffs.learning_curves(analysis)
    # The reference first, then by rank; steps without an evaluation are left out.
    assert [p.params[KEY] for p in curves] == [0.001, 0.002, 0.004, 0.01, 0.0001]
    assert next(iter(curves.values()))[0] == pytest.approx({20: 26.0, 40: 36.0})
    names = plot_1d.draw_response(analysis, "miou/last").axes[0].get_legend_handles_labels()[1]
    # An oracle of another network is not comparable; the line does not stretch the axis.
    assert names[1:] == ["plain (shared start): 33.00 %", "oracle: 71.00 % (outside the axis)"]
    assert 'href="../trials/0003"' in found.page.read_text()
    command = "python launch.py sweep=lambda_adv hydra.mode=RUN loss.lambda_adv=0.002 seed=0"
    assert f"Best point: {command}" in found.text and command in found.page.read_text()


def test_a_trial_leads_to_its_run_in_mlflow(tmp_path):
    fields = {"uri": "http://user:secret@server:5000", "experiment": "x", "artifacts": ""}
    record = RunRecord(**fields, name="", key="", parent=None, tags={}, params={}, started=0)
    record.write(tmp_path)
    made = trial(0, {}, 0, 0.4)
    assert run_of(replace(made, folder=tmp_path)) == ""
    write_json(tmp_path / NOTES, {"run_id": "0ab1", "files": {}})
    assert run_of(replace(made, folder=tmp_path)) == "http://user:***@server:5000/#/runs/0ab1"


def test_the_interactive_page_needs_nothing_else(written):
    page = (written.page.parent / "interactive.html").read_text()
    assert "loss.lambda_adv=0.002" in page and "seed 2" in page
    reader = Reader()
    reader.feed(page)
    assert not [a for tag, a in reader.seen if tag in ("script", "link", "img") and "src" in a]
    assert "<script>alert" not in page


@pytest.mark.parametrize("names", [("/data/$x_{/a", "b"), (1e-300, 1e300), ("$", "$$")])
def test_no_value_kills_the_report(names, tmp_path):
    first, second = names
    made = curve({first: [40.0, 41.0], second: [42.0, 42.5]}, reference=first)
    trials = [replace(t, params=t.params | {"other": t.number}) for t in made.trials]
    for one in (made, replace(made, trials=tuple(trials), reference={}, space={})):
        found = write(one, tmp_path)
        # Matplotlib's own transforms overflow at 1e300: then a figure is missing.
        assert found.page.is_file()
        assert isinstance(first, float) or "could not be drawn" not in found.text


def test_a_figure_that_fails_costs_that_figure_and_is_named(tmp_path, monkeypatch):
    def fail(*_):
        raise np.linalg.LinAlgError("singular matrix")

    monkeypatch.setattr(class_heatmap, "draw", fail)
    found = write(full(), tmp_path)
    assert [path.name for path in found.figures] == ["response.png", "label_free.png"]
    message = "The figure classes could not be drawn: LinAlgError('singular matrix')."
    assert message in found.text
    assert "The figure classes could not be drawn" in found.page.read_text()


def test_no_text_is_a_formula_a_command_or_markup(tmp_path):
    made = curve(
        {"=1+2": [40.0, 41.0], "@x": [42.0, 42.5], "\033[2J<b>": [1.0, -2.0]}, reference="@x"
    )
    found = write(made, tmp_path)
    sheet = found.tables[0].read_text()
    assert "'=1+2" in sheet
    assert "'@x" in sheet
    assert "'-" not in sheet, "a negative number stays a number"
    for text in (found.text, found.page.read_text()):
        assert "\033" not in text
        assert "<b>" not in text or text == found.text
