"""Studies of several keys, objectives and scores."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.studies.made import KEY, curve, study, trial
from uda_hydra.studies.report import plot_tradeoffs
from uda_hydra.studies.report.analyse import StudyAnalysis
from uda_hydra.studies.report.importance import importance
from uda_hydra.studies.report.plot_nd import smooth
from uda_hydra.studies.report.selection import choices
from uda_hydra.studies.report.summary import find_all, find_choices, find_ranges
from uda_hydra.studies.report.write import write

BUG = "method.discriminator_target_label"
VALUES = (0.0005, 0.001, 0.002, 0.004)


def sentences(made):
    """The findings of a study, in English."""
    return [*map(str, find_all(StudyAnalysis(made)))]


def two_curves():
    """With the right label the weight matters, with the official bug it does not."""
    trials = []
    for seed in range(3):
        for label in (1, 0):
            for place, value in enumerate(VALUES):
                wobble = 0.001 * math.sin(7 * seed + 3 * place + label)
                miou = 0.4 + 0.01 * seed + (0.03 * place if label else -0.02) + wobble
                trials.append(trial(len(trials), {KEY: value, BUG: label}, seed, miou))
    return study(trials, reference={KEY: 0.001, BUG: 1})


def grid(count=40, seed=0, **fields):
    """A steep and a flat key, drawn at random, one seed."""
    rng = np.random.default_rng(seed)
    trials = []
    for number in range(count):
        steep, flat = float(10 ** rng.uniform(-4, -1)), float(rng.uniform(0.5, 1))
        miou = 0.4 + 0.03 * math.log10(steep) + 0.002 * flat
        params = {"loss.steep": steep, "method.flat": flat, "method.view": "ab"[number % 2]}
        trials.append(trial(number, params, 0, miou))
    space = {
        "loss.steep": "tag(log, interval(0.0001, 0.1))",
        "method.flat": "interval(0.5, 1)",
        "method.view": "choice(a, b)",
    }
    return study(trials, reference=dict(trials[0].params), space=space, **fields)


def test_a_second_key_of_few_values_makes_curves():
    points = StudyAnalysis(two_curves()).points
    assert points.axis == KEY
    assert [curve.name for curve in points.curves] == [f"{BUG}=0", f"{BUG}=1"]
    assert [p.params[KEY] for p in points.curves[0].points] == list(VALUES)


def test_every_curve_has_its_range_and_its_effect():
    text = " ".join(sentences(two_curves()))
    assert f"Robust range of {KEY} with {BUG}=0: 0.0005 to 0.004 (4 of 4" in text
    assert f"Robust range of {KEY} with {BUG}=1: only 0.004 (1 of 4" in text
    assert f"{KEY} with {BUG}=0 has no significant effect" in text
    assert f"{KEY} with {BUG}=1 affects the mIoU (p < 0.001" in text


def test_curves_are_compared_over_the_values_that_both_have():
    # On average -2 - 3 * 1.5 points.
    text = " ".join(sentences(two_curves()))
    assert f"{BUG}=0 minus {BUG}=1, mean over 4 values: -6.5" in text


def test_of_several_curves_both_intervals_are_told():
    trials = []
    for place, value in ((0, 0.1), (0, 0.2), (1, 0.1), (1, 0.2), (2, 0.1), (2, 0.2), (3, 0.4)):
        # Differences to the first curve of 1.1, 1.3 and 0.8, or the double.
        for seed, wobble in enumerate((0.1, 0.3, -0.2)):
            miou = (40 + place + wobble * (1 + place)) / 100
            trials.append(trial(len(trials), {KEY: value, "method.x": f"m{place}"}, seed, miou))
    text = " ".join(sentences(study(trials, reference={KEY: 0.1, "method.x": "m0"})))
    # t(0.975, 2) = 4.302653 and t(0.9875, 2) = 6.205347, times 0.2516611 / sqrt(3).
    gap = "method.x=m1 minus method.x=m0, mean over 2 values: +1.07 points"
    both = "95 % CI [+0.44, +1.69], paired over 3 seeds; corrected for 2 comparisons: "
    assert f"{gap}, {both}[+0.17, +1.97]. Significant." in text


def test_many_keys_have_no_curve_but_say_what_good_points_share():
    analysis = StudyAnalysis(grid(), 3.0)
    assert analysis.points.axis is None and analysis.ranges == ()
    text = str(find_ranges(analysis)[0])
    assert "of 40 points are within 3 points of the best (one seed)" in text
    assert "method.view a, b (all)" in text


def test_importance_finds_the_steep_key():
    shares = importance(StudyAnalysis(grid()))
    assert next(iter(shares)) == "loss.steep" and shares["loss.steep"].mean > 0.9
    assert sum(share.mean for share in shares.values()) == pytest.approx(1.0)


def test_a_list_counts_for_importance_as_a_choice_does():
    def made(written):
        points = [{"a": a, "b": b} for a in (1, 2, 30) for b in (1, 2, 30, 40)]
        trials = [
            trial(n, p, 0, 0.4 + p["a"] % 7 / 99 + p["b"] / 999) for n, p in enumerate(points)
        ]
        space = {"a": written, "b": "choice(1,2,30,40)"}
        return StudyAnalysis(study(trials, reference=points[0], space=space))

    assert importance(made("1,2,30")) == importance(made("choice(1,2,30)"))


def test_importance_needs_some_trials_and_two_keys():
    assert importance(StudyAnalysis(grid(9))) == {}
    assert importance(StudyAnalysis(curve({v: [40.0 + v] * 3 for v in VALUES}))) == {}


def test_front_of_two_objectives(tmp_path):
    # (mIoU, seconds): the third is beaten by the second in both.
    values = {0.001: (0.40, 10.0), 0.002: (0.45, 20.0), 0.004: (0.44, 25.0), 0.008: (0.50, 90.0)}
    trials = [trial(n, {KEY: v}, 0, pair) for n, (v, pair) in enumerate(values.items())]
    made = study(
        trials,
        reference={KEY: 0.001},
        objectives=("miou/last", "seconds"),
        directions=("maximize", "minimize"),
    )
    assert [p.params[KEY] for p in StudyAnalysis(made).front] == [0.001, 0.002, 0.008]
    written = write(made, tmp_path)
    message = " ".join(written.text.split())
    assert (
        "Pareto front of mIoU and training time: 3 of 4 points. loss.lambda_adv=0.001 (40.00, "
        in message
    )
    assert [path.name for path in written.figures] == [
        "response.png",
        "response_seconds.png",
        "pareto.png",
    ]
    line = plot_tradeoffs.draw_pareto(StudyAnalysis(made)).axes[0].lines[0]
    assert list(line.get_xdata()) == [10, 20, 90]
    # Less time is better: what 20 s reach is reached until 90 s.
    assert line.get_drawstyle() == "steps-post"
    assert "<td>loss.lambda_adv=0.002</td><td>45.00</td><td>20</td>" in (written.page.read_text())


def scores(value, seed):
    """Entropy orders like mIoU, turned round; the density the other way; the source picks 0.002."""
    place = VALUES.index(value)
    return {
        "entropy/target": 0.5 - 0.1 * place + 0.01 * seed,
        "snd/target": 2.0 - 0.2 * place,
        "miou/source_val": 0.7 if value == 0.002 else 0.6 - 0.01 * place,
    }


def test_what_one_would_have_chosen_without_labels():
    table = {value: [30.0 + 2 * place, 31.0 + 2 * place] for place, value in enumerate(VALUES)}
    found = {c.metric.key: c for c in choices(StudyAnalysis(curve(table, results=scores)))}
    entropy, density = found["entropy/target"], found["snd/target"]
    assert (entropy.correlation.mean, entropy.correlation.n, entropy.points) == (1.0, 2, 4)
    assert entropy.chosen.params == {KEY: 0.004} and entropy.cost == 0
    assert density.correlation.mean == -1.0
    assert density.chosen.params == {KEY: 0.0005} and density.cost == pytest.approx(6.0)
    assert found["miou/source_val"].cost == pytest.approx(2.0)
    assert density.chance == pytest.approx(3.0)
    message = str(find_choices(StudyAnalysis(curve(table)), [density])[0])
    assert "rank correlation with target mIoU -1.00 (mean over 2 seeds, 4 points)" in message
    assert "which costs 6.00 points of mIoU (a random choice: 3.00)" in message


def test_runs_without_label_free_scores_say_nothing_of_them():
    assert choices(StudyAnalysis(curve({v: [40.0] for v in VALUES}))) == ()


def test_classes_that_pay_are_named_only_where_the_seeds_tell():
    def ious(value, seed):
        wobble = 0.0005 * math.sin(5 * seed + value * 1000)
        gain = 0.0 if value == 0.001 else 0.1
        return {"iou/road": 0.8 - gain + wobble, "iou/car": 0.4 + gain + wobble, "iou/sky": 0.9}

    text = " ".join(sentences(curve({0.001: [30.0] * 4, 0.002: [40.0] * 4}, results=ious)))
    assert "corrected for 3 classes of 1 other point: road -10.0, car +10.0." in text
    one = sentences(curve({0.001: [30.0], 0.002: [40.0]}, results=ious))
    assert not any("road" in line for line in one)


def test_classes_are_corrected_for_the_choice_of_the_best_point_too():
    def ious(value, seed):
        # p = 0.04 for one comparison.
        return {"iou/road": 0.5 + ((0.0064, 0.0100, 0.0136)[seed] if value == 0.002 else 0.0)}

    table = {0.001: [30.0] * 3, 0.002: [40.0] * 3}
    assert "of 1 other point: road +1.0." in " ".join(sentences(curve(table, results=ious)))
    more = table | {0.004: [35.0] * 3, 0.01: [36.0] * 3}
    assert "None of 1 class changes" in " ".join(sentences(curve(more, results=ious)))


def test_smoothing_against_a_loop_and_not_far_from_the_points():
    rng = np.random.default_rng(0)
    at, values, side = rng.uniform(0, 0.4, (5, 2)), rng.normal(size=5), np.linspace(0, 1, 7)
    found = smooth(at, values, side)
    for row, y in enumerate(side):
        for column, x in enumerate(side):
            squares = [(x - a) ** 2 + (y - b) ** 2 for a, b in at]
            if min(squares) >= 0.24**2:
                assert np.isnan(found[row, column])
                continue
            weights = [math.exp(-square / (2 * 0.12**2)) for square in squares]
            expected = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
            assert found[row, column] == pytest.approx(expected)


def test_axes_are_logarithmic_where_values_span_much_or_were_drawn_so():
    points = StudyAnalysis(grid()).points
    assert points.scale("loss.steep") == "log" and points.scale("method.flat") == "linear"
    scale = {
        (0.001, 0.02): "linear",
        (0.001, 0.021): "log",
        (0.0, 0.001, 0.1): "symlog",
        # What is nearly evenly spaced by ratio, and what by difference.
        (0.0005, 0.001, 0.002, 0.004): "log",
        (0.0, 0.0005, 0.001, 0.002, 0.004): "symlog",
        (0.5, 0.7, 0.9, 0.99): "linear",
        (0.0, 1.0, 2.0, 3.0): "linear",
    }
    for values, name in scale.items():
        made = curve({value: [40.0] for value in values}, reference=values[1])
        assert StudyAnalysis(made).points.scale(KEY) == name, values
    # Without a reference the values that were tried decide alone.
    for values in ((0.1, 0.2, 0.3), ()):
        trials = [trial(number, {KEY: value}, 0, 0.4) for number, value in enumerate(values)]
        made = study(trials, reference={}, space={KEY: "choice(0.1,0.2,0.3)"})
        assert StudyAnalysis(made).points.scale(KEY) == "linear", values
