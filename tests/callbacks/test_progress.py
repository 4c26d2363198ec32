from __future__ import annotations

import io
import os
import re

import numpy as np
import pytest

from tests.label_spaces import space
from uda_hydra.callbacks.progress import Progress, duration, last_position
from uda_hydra.data.labels import SYNTHIA16
from uda_hydra.engine.events import Evaluation, Run
from uda_hydra.engine.scores import Scores


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture(autouse=True)
def idle(monkeypatch):
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))


def evaluation(step):
    scores = Scores(np.array([[3, 1], [0, 0]]), space("road", "car"))
    return Evaluation(step, scores, 0.4, ())


def speed(rate=1.0):
    """What the trainer logs of it, in steps a second."""
    return {"speed/steps_per_second": rate}


def run(folder, start=0):
    return Run("caco", folder, 200, start, {})


def test_a_line_tells_step_rate_time_left_losses_and_score(tmp_path):
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, clock=clock)
    progress.on_start(run(tmp_path))
    progress.on_evaluate(evaluation(0))
    clock.now = 5.0  # 50 steps in 5 s: 10 a second, 150 left
    progress.on_log(50, speed(10.0) | {"loss/seg": 0.51234, "loss/contrast": 2.0, "lr/heads": 0.1})
    assert stream.getvalue().splitlines() == [
        "caco: to step 200",
        "step 0: mIoU 37.50 % (best 40.00), pixel accuracy 75.00 %",
        " 50/200  25 %  10 it/s  ETA 15s  seg 0.512  contrast 2  mIoU 37.5",
    ]


def test_a_line_says_that_the_machine_is_overloaded(tmp_path, monkeypatch):
    monkeypatch.setattr("os.getloadavg", lambda: (9.0, 0.0, 0.0))
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    stream = io.StringIO()
    progress = Progress(stream)
    progress.on_start(run(tmp_path))
    progress.on_log(50, speed())
    assert "(overloaded: load 9.0 on 2 cores)" in stream.getvalue()


def test_subsets_are_printed(tmp_path):
    stream = io.StringIO()
    progress = Progress(stream)
    progress.on_start(run(tmp_path))
    confusion = np.eye(16, dtype=int)
    confusion[3, 4] = 1  # wall and fence, which the 13 leave out
    progress.on_evaluate(Evaluation(7, Scores(confusion, SYNTHIA16), 1.0, ()))
    line = stream.getvalue().splitlines()[-1]
    assert line.startswith("step 7: mIoU 93.75 % (best 100.00), mIoU 13 100.00 %, pixel accuracy")


def test_a_subset_without_a_class_in_the_labels_is_not_printed(tmp_path):
    stream = io.StringIO()
    progress = Progress(stream)
    progress.on_start(run(tmp_path))
    made = space("road", "car", miou_cars=("car",))
    progress.on_evaluate(Evaluation(7, Scores(np.array([[4, 0], [0, 0]]), made), 1.0, ()))
    line = stream.getvalue().splitlines()[-1]
    assert line == "step 7: mIoU 100.00 % (best 100.00), pixel accuracy 100.00 %"


def test_time_left_counts_evaluations_and_the_rate_forgets_them(tmp_path):
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, clock=clock)
    progress.on_start(run(tmp_path))
    for step in range(1, 41):
        clock.now += 61.0 if step == 30 else 1.0  # a minute in which nothing was trained
        progress.on_log(step, speed())
    # 40 steps in 100 s so far.
    assert stream.getvalue().splitlines()[-1].startswith(" 30/200  15 %")
    line = (tmp_path / "train.log").read_text().splitlines()[-1]
    assert "  1 it/s  ETA 6m40s" in line


def test_a_pipe_gets_few_lines_and_the_file_all(tmp_path):
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, clock=clock)
    progress.on_start(run(tmp_path))
    for step in range(1, 61):
        clock.now += 1.0
        progress.on_log(step, speed())
    progress.on_end("finished")
    assert len(stream.getvalue().splitlines()) == 1 + 4 + 1
    assert len((tmp_path / "train.log").read_text().splitlines()) == 1 + 60 + 1
    assert stream.getvalue().splitlines()[-1] == "finished after 1m00s"
    assert "\033" not in stream.getvalue()
    assert "\r" not in stream.getvalue()


@pytest.fixture
def narrow(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "30")


def frames(text):
    """What a live line shows one after the other, without codes."""
    found = [re.sub(r"\033\[[\d;?]*\w|\r", "", frame) for frame in text.split("\033[2K")]
    return [frame for frame in found if frame]


def test_a_terminal_line_is_rewritten_in_place_and_never_wraps(tmp_path, narrow):
    stream, clock = Terminal(), Clock()
    progress = Progress(stream, clock=clock)
    progress.on_start(run(tmp_path))
    begin = len(stream.getvalue())
    for step in (1, 2):
        clock.now += 1.0
        progress.on_log(step, speed() | {"loss/a_term_with_a_long_name": 1.0})
    text = stream.getvalue()[begin:]
    assert "\n" not in text
    assert [frame.rstrip() for frame in frames(text)] == [
        "  1/200   0 %  1 it/s  ETA 3m…",
        "  2/200   1 %  1 it/s  ETA 3m…",
    ]
    assert "\033[36m" in text
    progress.on_end("finished")


def test_no_colour_where_none_is_wanted(tmp_path, narrow, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    progress = Progress(stream)
    progress.on_start(run(tmp_path))
    progress.on_log(1, speed())
    progress.on_end("finished")
    assert "\033[36m" not in stream.getvalue()


def test_a_terminal_is_not_written_to_faster_than_one_reads(tmp_path, narrow):
    stream, clock = Terminal(), Clock()
    progress = Progress(stream, clock=clock)
    progress.on_start(run(tmp_path))
    begin = len(stream.getvalue())
    for step in range(1, 101):
        clock.now += 0.03125
        progress.on_log(step, speed())
    # Every fourth is 0.125 s after the last one.
    assert len(frames(stream.getvalue()[begin:])) == 25
    progress.on_end("finished")


def test_the_position_of_a_run_is_read_from_the_log_that_grew_last(tmp_path):
    assert last_position(tmp_path) == ""
    for number, stage in enumerate(("source", "caco")):
        progress = Progress(io.StringIO(), clock=Clock())
        progress.on_start(run(tmp_path / stage))
        progress.on_log(50 + number, speed() | {"loss/seg": 0.5})
        progress.on_evaluate(evaluation(50))
        os.utime(tmp_path / stage / "train.log", (number, number))
    assert last_position(tmp_path) == "caco 51/200"
    assert last_position(tmp_path, since=2.0) == ""


def test_a_resumed_run_appends(tmp_path):
    for start in (0, 120):
        progress = Progress(io.StringIO(), clock=Clock())
        progress.on_start(run(tmp_path, start))
        progress.on_end("interrupted")
    lines = (tmp_path / "train.log").read_text().splitlines()
    assert [line[21:] for line in lines[::2]] == [
        "caco: to step 200",
        "caco: from step 120 to step 200",
    ]


def test_an_unwritable_file_and_an_end_without_a_start_are_no_matter(tmp_path):
    Progress(io.StringIO()).on_end("failed")
    (tmp_path / "train.log").mkdir()
    stream = io.StringIO()
    progress = Progress(stream)
    progress.on_start(run(tmp_path))
    progress.on_log(1, speed())
    assert len(stream.getvalue().splitlines()) == 2


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (3599.0, "59m59s"),
        (7620.0, "2h07m"),
        (90000.0, "1d01h"),
    ],
)
def test_durations_are_for_people(seconds, text):
    assert duration(seconds) == text
