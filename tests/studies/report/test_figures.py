"""What the figures of a report draw, and that no label covers another."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest

from tests.studies.made import KEY, curve, study, trial
from tests.studies.report.test_findings import CLEAR
from tests.studies.report.test_many_keys import grid, two_curves
from tests.studies.report.test_outputs import CLASSES, full
from uda_hydra.studies.report import class_heatmap, plot_1d, plot_nd, plot_tradeoffs
from uda_hydra.studies.report.analyse import StudyAnalysis
from uda_hydra.studies.report.plot_style import png, tidy


def test_curve_draws_means_band_trials_and_the_reference():
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


def test_what_is_drawn_of_many_points_is_bounded():
    analysis = StudyAnalysis(grid(300))
    axes = plot_nd.draw_parallel(analysis, analysis.points.keys).axes[0]
    drawn = [line.get_label() for line in axes.lines]
    assert len(drawn) == plot_nd.MOST_LINES
    assert {"best", "reference"} <= {*drawn}
