"""What a report says of studies whose analysis is known."""

from __future__ import annotations

import csv
import math
from dataclasses import replace

import pytest

from tests.studies.made import KEY, curve, study, trial
from uda_hydra.studies.report import tables
from uda_hydra.studies.report.analyse import StudyAnalysis
from uda_hydra.studies.report.findings import Finding, count
from uda_hydra.studies.report.metrics import Metric
from uda_hydra.studies.report.summary import find_all
from uda_hydra.studies.report.write import text as report_text
from uda_hydra.studies.report.write import write

CLEAR = {
    # Best at 0.002 by far more than the seeds vary; 0.004 within a point, 0.01 not.
    0.0001: [30.0, 31.0, 32.1],
    0.001: [36.0, 37.1, 38.0],
    0.002: [40.0, 41.0, 42.1],
    0.004: [39.3, 40.4, 41.4],
    0.01: [35.0, 36.0, 37.0],
}
FLAT = {0.001: [40.0, 42.0, 41.0], 0.002: [41.0, 41.5, 40.9], 0.004: [40.5, 41.0, 41.8]}


def said(made, **options):
    """The whole text in one line, as if the terminal were endless."""
    return " ".join(report_text(made, **options).split())


def test_best_range_and_difference_are_reported():
    text = said(curve(CLEAR))
    assert "Best of 5 points: loss.lambda_adv=0.002, mIoU 41.03 % (mean of 3 seeds)." in text
    assert "0.002 to 0.004 (2 of 5 values compared), within 1 point of the best" in text
    assert "+4.00 points" in text and ". Significant." in text
    assert "loss.lambda_adv affects the mIoU (p < 0.001" in text


def test_an_interval_that_contains_zero_is_not_significant():
    text = said(curve(FLAT))
    assert "Not significant." in text and ". Significant" not in text
    assert "loss.lambda_adv has no significant effect" in text
    assert "None of 2 other points differ significantly from the reference" in text
    two = {value: FLAT[value] for value in (0.001, 0.002)}
    assert "The other point does not differ significantly from the reference." in said(curve(two))
    assert "may extend beyond the smallest and the largest value" in text


def test_an_interval_without_zero_is_not_enough_after_choosing_the_best_of_many():
    # +1.0 with an interval of [0.1, 1.9] alone; of five points one is always the best.
    table = {v: [40.0, 40.0, 40.0] for v in (0.0001, 0.0005, 0.001, 0.004)}
    table[0.002] = [40.64, 41.0, 41.36]
    text = said(curve(table))
    assert "95 % CI [+0.11, +1.89]" in text
    assert "corrected for choosing the best of 4" in text
    assert "Not significant." in text and ". Significant" not in text


def test_one_seed_claims_no_difference():
    text = said(curve({value: [points[0]] for value, points in CLEAR.items()}))
    assert "one seed shows no significance" in text
    assert "With one seed, differences between points may be noise." in text
    for claim in ("Significant", "F-test", "differ significantly from", "CI ["):
        assert claim not in text


def test_a_range_of_one_value_at_an_end_may_extend_beyond_it():
    end = "are not within 1 point of the best (0.001: 40.50); it may extend beyond the smallest"
    text = said(curve({0.001: [40.0, 41.0], 0.002: [30.0, 31.0]}))
    assert f"only 0.001 (1 of 2 values compared); its neighbours {end} value." in text


@pytest.mark.parametrize(
    "lost", [{"state": "failed"}, {"state": "pruned"}, {"value": math.nan}], ids=str
)
def test_a_value_whose_trainings_gave_no_number_ends_the_range(lost):
    extra = [
        lambda n, point={KEY: value}, seed=seed: trial(n, point, seed, **{"value": 0.0} | lost)
        for value in (0.01, 1.0)
        for seed in range(3)
    ]
    table = {0.001: [50.0, 50.5, 51.0], 0.1: [50.2, 50.4, 50.8]}
    low = said(curve({0.0001: [40.0, 41.0, 40.5]} | table, extra=extra))
    assert "only 0.001 (1 of 3 values compared); its neighbours are not within 1 point" in low
    high = said(curve(table | {0.1: [51.2, 51.4, 51.8]}, extra=extra))
    assert "only 0.1 (1 of 2 values compared); its neighbours are not within 1 point" in high
    assert "may extend beyond" not in low + high


def test_tolerance_widens_the_range():
    assert "0.001 to 0.01 (4 of 5 values compared), within 5.1 points" in said(
        curve(CLEAR), tolerance=5.1
    )


def test_pruned_failed_and_infinite_trials_are_listed_and_left_out():
    point = {KEY: 0.001}
    extra = [
        lambda n: trial(n, point, 3, 0.99, state="pruned", note="below the median"),
        lambda n: trial(n, point, 4, 0.99, state="failed", note="out of memory"),
        lambda n: trial(n, point, 5, math.nan),
    ]
    with_them, without = curve(CLEAR, extra=extra), curve(CLEAR)
    assert tables.points(StudyAnalysis(with_them)) == tables.points(StudyAnalysis(without))
    text = said(with_them)
    assert "15 of 18 trials complete: 5 points, 3 seeds; 1 failed, 1 pruned, 1 not finite" in text
    assert "failed: trial 16 (loss.lambda_adv=0.001, seed 4): out of memory" in text
    assert "not finite: trial 17" in text
    assert "Pruned trials are listed and not used." in text


@pytest.mark.parametrize(
    "trials",
    [
        [],
        [
            trial(0, {KEY: 0.001}, 0, 0.0, state="running"),
            trial(1, {KEY: 0.1}, 0, 0.0, state="waiting"),
        ],
        [trial(0, {KEY: 0.001}, 0, math.nan)],
    ],
    ids=["empty", "started", "nan"],
)
def test_a_study_without_an_answer_says_so(trials, tmp_path):
    written = write(study(trials, reference={KEY: 0.001}), tmp_path)
    assert "No trial has finished with a finite objective yet." in written.text
    assert (written.best, written.best_mean, written.robust_range) == ({}, None, "")
    assert written.figures == () and written.page.is_file()


def test_unfinished_trials_are_counted():
    extra = [
        lambda n: trial(n, {KEY: 0.001}, 3, 0.0, state="running"),
        lambda n: trial(n, {KEY: 0.002}, 3, 0.0, state="waiting"),
    ]
    assert "1 running, 1 waiting" in report_text(curve(CLEAR, extra=extra))


def test_a_failure_that_was_tried_again_is_missing_nowhere():
    text = said(curve(CLEAR, extra=[lambda n: trial(n, {KEY: 0.001}, 0, 0.0, state="retried")]))
    assert "15 of 16 trials complete: 5 points, 3 seeds; 1 retried" in text
    assert "retried: trial" not in text


def test_a_point_with_a_lucky_seed_is_not_ranked_before_it_has_the_others():
    table = {**CLEAR, 0.03: [60.0]}
    analysis = StudyAnalysis(curve(table))
    assert analysis.points.seeds == (0, 1, 2)
    assert analysis.best is not None and analysis.best.params == {KEY: 0.002}
    assert "5 of 6 points have seeds 0, 1, 2" in said(curve(table))


def test_points_of_an_unfinished_seed_are_compared_over_the_seeds_they_share():
    # One point is ahead with a third, bad seed: its mean of two is what counts.
    table = {0.001: [40.0, 41.0, 10.0], 0.002: [39.0, 40.0], 0.004: [38.0, 39.0]}
    analysis = StudyAnalysis(curve(table))
    assert analysis.points.seeds == (0, 1)
    assert analysis.best is not None and analysis.best.params == {KEY: 0.001}
    assert analysis.mean(analysis.best).mean == pytest.approx(40.5)


def test_seeds_that_three_points_share_keep_more_than_those_of_two():
    owned = {0.001: (0, 1, 2, 3, 4), 0.002: (0, 1, 2, 3, 5), 0.004: (0, 1, 2, 4, 5)}
    pairs = [(value, seed) for value, seeds in owned.items() for seed in seeds]
    trials = [trial(n, {KEY: value}, seed, 0.5) for n, (value, seed) in enumerate(pairs)]
    points = StudyAnalysis(study(trials, reference={KEY: 0.001})).points
    assert (points.seeds, len(points.compared)) == ((0, 1, 2), 3)


def test_table_of_points_by_hand(tmp_path):
    written = write(curve(CLEAR), tmp_path)
    with written.tables[0].open() as file:
        rows = {row[0]: row for row in csv.reader(file)}
    assert rows[KEY][:5] == [KEY, "seeds", "n", "mIoU [%]", "std"]
    assert rows["0.01"][1:5] == ["0 1 2", "3", "36.00", "1.00"]
    # 35, 36, 37 minus 36, 37.1, 38.
    assert rows["0.01"][7] == "-1.03"
    assert rows["0.001"][10] == "reference" and rows["0.002"][10] == "best"


def test_published_values_stand_beside_ours():
    facts = {"method": "adaptsegnet", "dataset": "gta2city"}
    rows = tables.points(StudyAnalysis(curve(CLEAR, facts=facts)))
    column = rows[0].index("published 1")
    assert {row[0]: row[column] for row in rows[1:]} == {
        "0.0001": "-",
        "0.001": "41.40",
        "0.002": "40.40",
        "0.004": "40.10",
        "0.01": "-",
    }
    assert "published 1: output space, ResNet-101: paper (from memory)" in said(
        curve(CLEAR, facts=facts)
    )
    # They are mIoU on the target.
    on_source = curve(CLEAR, facts=facts, objectives=("miou/source_val",))
    assert "published 1" not in tables.points(StudyAnalysis(on_source))[0]


def test_table_of_trials_holds_every_number_in_the_unit_of_its_heading(tmp_path):
    made = curve(CLEAR, results=lambda value, seed: {"iou/road": 0.5 + seed / 10, "stage": "x"})
    written = write(made, tmp_path)
    with written.tables[1].open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 15 and "stage" not in rows[0]
    assert float(rows[0]["miou/last [%]"]) == 30 and rows[14]["iou/road [%]"] == "70"
    assert rows[3]["folder"] == "trials/0003"


def test_the_best_is_the_smallest_where_small_is_good():
    made = curve(
        {0.001: [50.0, 51.0], 0.002: [40.0, 41.0]},
        objectives=("entropy/target",),
        directions=("minimize",),
    )
    analysis = StudyAnalysis(made)
    assert analysis.best is not None and analysis.best.params == {KEY: 0.002}
    # Not a share: one percent of the best is the default width.
    assert analysis.tolerance == pytest.approx(0.00405)


def test_the_best_of_many_evaluations_is_called_what_it_is():
    text = said(curve(CLEAR, objectives=("miou/best",)))
    assert "miou/best is selected on target labels" in text
    assert "miou/best is selected" not in said(curve(CLEAR))


def test_categories_have_no_neighbours():
    table = {"entropy": [40.0, 41.0], "logits": [30.0, 31.0], "softmax": [39.5, 40.5]}
    text = said(curve(table, key="method.view", reference="logits"))
    assert "Robust range of method.view: entropy, softmax (2 of 3 compared)" in text


def test_null_among_numbers_is_a_category():
    analysis = StudyAnalysis(curve({0.9: [40.0], None: [41.0]}, reference=None))
    assert analysis.points.scale(KEY) == "category"
    assert analysis.best is not None and analysis.best.name == "loss.lambda_adv=null"


def test_a_significant_difference_may_still_be_small():
    table = {0.001: [40.0, 41.0, 42.0], 0.002: [40.2, 41.21, 42.2]}
    assert "Significant, but within the robust range." in said(curve(table))


def test_a_pruned_trial_is_no_response_even_with_a_value():
    last = trial(15, {KEY: 0.002}, 2, 0.99)
    pruned = replace(last, state="pruned")
    made = curve(CLEAR)
    with_it = replace(made, trials=(*made.trials, pruned))
    assert tables.points(StudyAnalysis(with_it)) == tables.points(StudyAnalysis(made))
    # A repeated seed counts with its last complete trial.
    again = StudyAnalysis(replace(made, trials=(last, *made.trials)))
    assert again.best is not None
    assert again.best.scores("miou/last")[2] == pytest.approx(99.0)


def test_a_study_of_seeds_alone_reports_their_spread():
    trials = [trial(seed, {}, seed, value) for seed, value in enumerate((0.31, 0.33, 0.35))]
    lines = [*map(str, find_all(StudyAnalysis(study(trials, reference={}))))]
    assert lines[0] == (
        "mIoU 33.00 %, mean of 3 seeds. Standard deviation between seeds: 2.00 points."
    )
    assert len(lines) == 2 and "target labels" in lines[1]
    assert "The spread between seeds is unknown." in said(study(trials[:1], reference={}))


def test_findings_are_kinds_with_numbers():
    kinds = {found.kind: found for found in find_all(StudyAnalysis(curve(CLEAR)))}
    assert [*kinds] == [
        "best",
        "best, chosen",
        "others",
        "range",
        "effect",
        "caution: spread",
        "caution: labels",
    ]
    assert kinds["best"].values["mean"] == pytest.approx(41.0 + 0.1 / 3)
    assert kinds["best, chosen"].values["gap"] == pytest.approx(4.0)
    found = kinds["range"].values
    assert (found["first"], found["last"], found["inside"], found["values"]) == (
        *("0.002", "0.004"),
        *(2, 5),
    )


def test_a_term_without_effect_is_a_caution():
    def results(value, seed):
        return {"zero_terms": ["loss/contrast"]} if value == 0.001 else {}

    found = find_all(StudyAnalysis(curve({0.001: [40.0, 41.0], 0.01: [42.0]}, results=results)))
    assert "loss/contrast (2 trainings)." in " ".join(map(str, found))


def test_equal_results_and_the_swept_term_that_was_zero_are_named():
    key, seeds = "loss.lambda_contrast", [40.0, 41.0]
    table = {0.001: seeds, 0.01: seeds, 0.1: seeds}
    idle = {"zero_terms": ["loss/contrast"]}
    text = said(curve(table, key=key, reference=0.01, results=lambda value, seed: idle))
    assert f"{key} had no effect: loss/contrast was 0 in every step of every training." in text
    assert "had no effect: all 3 points have the same results at every seed (mIoU 40.50 %)" in text
    for claim in ("Best of", "Best minus", "Robust range", "F-test"):
        assert claim not in text
    # One training in which the term counted, or another class of the same mean.
    some = said(curve(table, key=key, results=lambda value, seed: idle if value + seed < 1 else {}))
    assert f"{key} had no effect" not in some
    other = curve(table, results=lambda value, seed: {"iou/road": 0.5 if value < 0.1 else 0.6})
    assert f"Same results at every seed: {KEY}=0.001 = {KEY}=0.01." in said(other)
    assert "all 3 points" not in said(other)


def test_a_study_without_an_effect_hands_on_no_best_point(tmp_path, monkeypatch):
    monkeypatch.setattr("uda_hydra.studies.report.figures.draw_all", lambda analysis: ([], []))
    written = write(curve({0.001: [40.0, 41.0], 0.01: [40.0, 41.0]}), tmp_path)
    assert (written.best, written.robust_range) == ({}, "")
    assert written.best_mean == pytest.approx(0.405)


def test_points_of_other_costs_have_other_results():
    trials = [trial(n, {KEY: 0.001 * 2**n}, 0, (0.4, 10.0 * n)) for n in range(3)]
    goals = {"objectives": ("miou/last", "seconds"), "directions": ("maximize", "minimize")}
    text = said(study(trials, reference={KEY: 0.001}, **goals))
    assert "Best of 3 points" in text
    assert "had no effect" not in text and "Same results" not in text


def test_numbers_agree_with_their_nouns():
    values = {"others": 1, "different": "1", "verb": "differs", "names": ""}
    assert str(Finding("others", values, Metric("miou/last"))) == (
        "1 of 1 other point differs significantly from the reference, corrected for 1 comparison."
    )
    assert count(2, "class") == "2 classes"


@pytest.mark.parametrize(
    ("key", "share", "name"),
    [
        ("miou/last", True, "mIoU"),
        ("miou_rare", True, "mIoU (rare)"),
        ("iou/tram", True, "tram"),
        ("miou/best_step", False, "miou/best_step"),
        ("seconds", False, "training time"),
    ],
)
def test_metrics_are_recognised_by_their_keys(key, share, name):
    assert (Metric(key).is_share, Metric(key).name) == (share, name)
