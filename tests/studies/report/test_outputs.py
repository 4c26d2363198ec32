"""The files of a report: whole in one file, the same every time, and what the figures draw."""

from __future__ import annotations

import base64
import random
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations, pairwise

import numpy as np
import pytest

from tests.studies.made import KEY, curve, study, trial
from tests.studies.report.test_findings import CLEAR
from tests.studies.report.test_many_keys import grid, scores, two_curves
from uda_hydra.files import write_json
from uda_hydra.studies.report import class_heatmap, plot_1d, plot_nd, plot_tradeoffs
from uda_hydra.studies.report.analyse import StudyAnalysis
from uda_hydra.studies.report.plot_style import png, tidy
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
        results=lambda value, seed: {**sixteen(value, seed), "entropy/target": 0.4 - value},
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
def test_summary_fits_a_terminal(made):
    lines = report_text(made()).splitlines()
    assert len(lines) < 40


def test_curve_draws_means_band_trials_and_the_papers_value():
    analysis = StudyAnalysis(full())
    axes = plot_1d.draw_response(analysis, "miou/last").axes[0]
    line = axes.lines[0]
    assert list(line.get_xdata()) == [*CLEAR]
    assert line.get_ydata() == pytest.approx([sum(v) / 3 for v in CLEAR.values()])
    assert axes.get_xscale() == "log"
    assert any(set(np.ravel(one.get_xdata())) == {0.001} for one in axes.lines[1:])
    assert sum(len(c.get_offsets()) for c in axes.collections[1:2]) == 15
    band = axes.collections[0].get_paths()[0].vertices
    mean = analysis.mean(analysis.points.all[0])
    assert band[:, 1].min() <= mean.low < mean.high <= band[:, 1].max()


def test_differences_are_paired_and_equal_seeds_are_joined():
    analysis = StudyAnalysis(full())
    figure = plot_1d.draw_response(analysis, "miou/last")
    tidy(figure)
    axes = figure.axes[1]
    seeds = [line for line in axes.lines if line.get_alpha() == 0.5]
    base = CLEAR[0.001]
    for seed, line in enumerate(seeds):
        expected = [points[seed] - base[seed] for points in CLEAR.values()]
        assert line.get_ydata() == pytest.approx(expected)
    assert len(seeds) == 3
    (bars,) = axes.containers
    ends = [segment[:, 1] for segment in bars.lines[2][0].get_segments()]
    found = [analysis.against_reference(point, "miou/last") for point in analysis.points.all]
    assert np.asarray(ends) == pytest.approx(np.asarray([[one.low, one.high] for one in found]))
    assert axes.get_ylim()[0] < -6 < 4 < axes.get_ylim()[1]
    alone = curve({value: points[:1] for value, points in CLEAR.items()}, reference=5.0)
    assert len(plot_1d.draw_response(StudyAnalysis(alone), "miou/last").axes) == 1


def visible_boxes(labels):
    return [one.get_window_extent() for one in labels if one.get_visible() and one.get_text()]


@pytest.mark.parametrize("count", [3, 9, 30])
@pytest.mark.parametrize("scale", ["log", "linear"])
def test_axes_of_sampled_values_have_round_ticks_that_do_not_overlap(count, scale):
    rng = np.random.default_rng(count)
    drawn = rng.uniform(-4, -1, count) if scale == "log" else rng.uniform(0.5, 0.99, count)
    values = [float(10**one if scale == "log" else one) for one in drawn]
    space = {KEY: "tag(log, interval(1e-4, 1e-1))" if scale == "log" else "interval(0.5, 1)"}
    made = curve({v: [40.0 + v] for v in values}, reference=values[0], space=space)
    figure = plot_1d.draw_response(StudyAnalysis(made), "miou/last")
    tidy(figure)
    axes = figure.axes[-1]
    low, high = axes.get_xlim()
    labels = [x.label1 for x in axes.xaxis.get_major_ticks() if low <= x.get_loc() <= high]
    shown = [one.get_text() for one in labels if one.get_visible() and one.get_text()]
    assert len(shown) >= 2 and max(map(len, shown)) <= 6
    boxes = sorted(visible_boxes(labels), key=lambda box: box.x0)
    assert all(a.x1 <= b.x0 for a, b in pairwise(boxes))


def test_close_values_are_named_without_overlap():
    table = {value: [40.0] for value in (0.5, 0.9, 0.95, 0.97, 0.98, 0.985, 0.99, 0.995)}
    figure = plot_1d.draw_response(StudyAnalysis(curve(table, reference=0.9)), "miou/last")
    tidy(figure)
    labels = [tick.label1 for tick in figure.axes[-1].xaxis.get_major_ticks()]
    boxes = sorted(visible_boxes(labels), key=lambda box: box.x0)
    assert 2 <= len(boxes) < len(table)
    assert all(a.x1 <= b.x0 for a, b in pairwise(boxes))


def test_names_of_points_cover_neither_points_nor_each_other():
    objectives, directions = ("miou/last", "seconds"), ("maximize", "minimize")
    rng = np.random.default_rng(0)
    trials = [
        trial(n, {KEY: n / 100}, 0, (float(a), float(b)))
        for n, (a, b) in enumerate(rng.uniform(0.4, 0.5, (40, 2)))
    ]
    made = study(trials, reference={KEY: 0.0}, objectives=objectives, directions=directions)
    figure = plot_tradeoffs.draw_pareto(StudyAnalysis(made))
    tidy(figure)
    axes = figure.axes[0]
    names = [text for text in axes.texts if text.get_visible()]
    boxes = visible_boxes(names)
    assert len(boxes) > 5
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    for text in axes.texts:
        x, y = axes.transData.transform(text.xy)
        assert not any(box.contains(x, y) for box in boxes)


def test_two_curves_share_a_figure():
    axes = plot_1d.draw_response(StudyAnalysis(two_curves()), "miou/last").axes[0]
    names = [line.get_label() for line in axes.lines if not line.get_label().startswith("_")]
    assert [name.split(":")[0] for name in names] == [
        "method.discriminator_target_label=0",
        "method.discriminator_target_label=1",
    ]


def test_heat_map_has_every_class_both_means_and_the_change():
    analysis = StudyAnalysis(full())
    drawn = class_heatmap.draw(analysis, analysis.points.all, [str(value) for value in CLEAR])
    left, right = drawn.axes[:2]
    rows = [label.get_text() for label in left.get_yticklabels()]
    assert rows == [*CLASSES, "mIoU", "mIoU (13)"]
    iou = np.asarray(left.images[0].get_array())
    # Road: 50 + seed + 1000 * value, the mean seed being 1.
    assert iou[0] == pytest.approx([51 + 1000 * value for value in CLEAR])
    change = np.asarray(right.images[0].get_array())
    assert change[0] == pytest.approx([1000 * (value - 0.001) for value in CLEAR])
    assert (change[:, 1] == 0).all()


@pytest.mark.parametrize("made", [two_curves, grid], ids=["curves", "many"])
def test_other_kinds_of_study_are_drawn_without_a_warning(made, tmp_path):
    names = [path.name for path in write(made(), tmp_path).figures]
    assert names[0] == ("response.png" if made is two_curves else "importance.png")
    assert {"importance.png"} <= {*names}
    if made is grid:
        assert names == ["importance.png", "slices.png", "pairs.png", "parallel.png"]


def test_a_report_replaces_the_one_before_it(tmp_path):
    write(grid(), tmp_path)
    # No process has this number: the one that had it was killed.
    half = tmp_path / f".response.png.{2**22 + 1}.tmp"
    half.write_bytes(b"half")
    figures = write(two_curves(), tmp_path).figures
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
    for seed, (depth, miou) in enumerate([(5, 0.6), (5, 0.62), (7, 0.9)]):
        oracle = folder / f"tables/streets/seed{seed}/oracle"
        oracle.mkdir(parents=True)
        keep(oracle, config | {"model.depth": depth, "seed": seed}, {"miou/last": miou})
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
    assert names[1:] == ["plain (shared start): 33.00 %", "oracle: 61.00 % (outside the axis)"]
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


def test_label_free_scores_are_drawn(tmp_path):
    made = curve({value: [40.0, 41.0] for value in (0.0005, 0.001, 0.002, 0.004)}, results=scores)
    assert "label_free.png" in [path.name for path in write(made, tmp_path).figures]


def many_classes(count):
    """A study whose results score ``count`` classes, the last with a dollar in its name."""
    names = [f"class {number}" for number in range(count - 1)] + ["$x_{"]
    return curve(CLEAR, results=lambda value, seed: {f"iou/{name}": 0.5 + value for name in names})


@pytest.mark.parametrize("count", [2, 60, 255])
def test_the_class_heat_map_fits_any_number_of_classes(count):
    analysis = StudyAnalysis(many_classes(count))
    figure = class_heatmap.draw(analysis, analysis.points.all, [str(value) for value in CLEAR])
    tidy(figure)
    png(figure)
    labels = figure.axes[0].get_yticklabels()
    assert figure.get_figheight() <= 26
    assert len(labels) == count + 1
    # The longest letters of neighbours do not touch.
    boxes = sorted(label.get_window_extent().y0 for label in labels)
    height = labels[0].get_fontsize() * figure.dpi / 72
    assert min(b - a for a, b in pairwise(boxes)) >= 0.95 * height


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


def test_what_is_drawn_of_many_points_is_bounded():
    analysis = StudyAnalysis(grid(300))
    axes = plot_nd.draw_parallel(analysis, analysis.points.keys).axes[0]
    drawn = [line.get_label() for line in axes.lines]
    assert len(drawn) == plot_nd.MOST_LINES
    assert {"best", "reference"} <= {*drawn}
