"""What a running study prints, on a terminal and in a pipe."""

from __future__ import annotations

import io
import json
import os
import re
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from optuna.trial import FrozenTrial, TrialState

from tests.studies.test_spec import AUX, spec_of
from uda_hydra.studies.display import Display, print_facts, shown_values, standing
from uda_hydra.studies.queue import Job

BEGAN = datetime(2026, 1, 1)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def eighty(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture
def spec(tmp_path):
    return spec_of(f"{AUX}=0.2,0.3", "seed=0,1", f"output='{tmp_path}/study'")


class Queue:
    """Trials that this test puts into it."""

    def __init__(self, spec):
        self._space = spec.design.space.distributions
        self.found = []

    def trials(self):
        return self.found

    def add(self, value, seed, *values, minutes=1.0, state=TrialState.COMPLETE, **attrs):
        number = len(self.found)
        trial = FrozenTrial(
            number,
            state,
            None,
            BEGAN,
            BEGAN + timedelta(minutes=minutes) if state.is_finished() else None,
            params={AUX: value},
            distributions=self._space,
            user_attrs={"seed": seed, **attrs},
            system_attrs={},
            intermediate_values={},
            trial_id=number,
            values=values or None,
        )
        self.found.append(trial)
        return Job(trial.number, 0, {AUX: value}, seed, f"trials/{trial.number:04}", None)


@pytest.fixture
def queue(spec):
    return Queue(spec)


def shown(text):
    """What was printed, without codes."""
    return re.sub(r"\033\[[\d;?]*\w|\r", "", text)


def test_a_pipe_gets_a_line_when_a_trial_begins_and_one_when_it_ends(spec, queue):
    stream = io.StringIO()
    display = Display(spec, queue.trials, stream)
    with display.live():
        display.begin([queue.add(0.1, 0, state=TrialState.RUNNING)])
        queue.found.clear()
        display.end(queue.add(0.1, 0, 0.4), "complete", "mIoU 40.00 %")
        queue.add(0.2, 0, 0.6, minutes=3.0)
        display.begin([queue.add(0.3, 0, state=TrialState.RUNNING)])
        queue.found.pop()
        display.end(queue.add(0.3, 0, state=TrialState.FAIL), "failed", "bad luck")
    # Two of six are done, in 2 minutes each; four are left.
    assert stream.getvalue().splitlines() == [
        "0/6  lambda_seg_aux=0.1 seed 0",
        "1/6  trial 0  lambda_seg_aux=0.1 seed 0  mIoU 40.00 %  0s",
        "2/6  best 60.00 %  ETA 8m00s  lambda_seg_aux=0.3 seed 0",
        "3/6  trial 2  lambda_seg_aux=0.3 seed 0  bad luck  0s",
    ]


def test_a_terminal_has_one_live_line_that_fits(spec, queue):
    stream = Terminal()
    display = Display(spec, queue.trials, stream)
    with display.live():
        queue.add(0.1, 0, 0.4)
        folder = spec.folder / "trials/0001/a_stage_of_a_very_long_name"
        folder.mkdir(parents=True)
        job = queue.add(0.1, 1, state=TrialState.RUNNING)
        display.begin([job])
        (folder / "train.log").write_text("2026-01-01 00:00:00  120/300  40 %\n")
        display._refresh()
        text = stream.getvalue()
    line = shown(text.split("\033[2K")[-1])
    assert len(line) == 80
    assert re.search(r"━  1/6  best 40\.00 %  ETA [45]m\d\ds  lambda_seg_aux=0\.1 seed 1", line)
    assert re.search(r"seed 1, a_stage.*…$", line)
    assert "\n" not in text


def test_a_trial_of_another_process_is_shown_once_when_it_ends(tmp_path):
    spec = spec_of(f"{AUX}=0.2,0.3", f"output='{tmp_path}/study'")
    spec = replace(spec, choices=spec.choices | {"hydra/launcher": "joblib"})
    queue, stream = Queue(spec), io.StringIO()
    display = Display(spec, queue.trials, stream)
    jobs = [queue.add(value, 0, state=TrialState.RUNNING) for value in (0.1, 0.2)]
    # What an earlier attempt in the same folder has left is not news.
    old = spec.folder / jobs[0].folder / "result.json"
    old.parent.mkdir(parents=True)
    old.write_text(json.dumps({"miou/last": 0.9}))
    os.utime(old, (0, 0))
    display.begin(jobs)
    for _ in range(2):
        display._look()
        folder = spec.folder / jobs[1].folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "result.json").write_text(json.dumps({"miou/last": 0.5}))
    display._look()
    queue.found = []
    for value, job in zip((0.1, 0.2), jobs, strict=True):
        queue.add(value, 0, 0.5)
        display.end(job, "complete", "mIoU 50.00 %")
    assert stream.getvalue().splitlines() == [
        f"trial 0 begins: lambda_seg_aux=0.1 seed 0, output: {spec.folder}/trials/0000/output.txt",
        f"trial 1 begins: lambda_seg_aux=0.2 seed 0, output: {spec.folder}/trials/0001/output.txt",
        "0/3  lambda_seg_aux=0.1 seed 0  lambda_seg_aux=0.2 seed 0",
        "1/3  trial 1  lambda_seg_aux=0.2 seed 0  mIoU 50.00 %  0s",
        "2/3  trial 0  lambda_seg_aux=0.1 seed 0  mIoU 50.00 %  0s",
    ]


def test_the_standing_counts_what_is_over_and_knows_what_is_better(tmp_path):
    spec = spec_of(f"{AUX}=0.2,0.3", "objective=[seconds,miou/last]", f"output='{tmp_path}'")
    queue = Queue(spec)
    for value, took in ((0.1, 30.0), (0.2, 20.0)):
        queue.add(value, 0, took, 0.5, minutes=took)
    cut = queue.add(0.3, 0, state=TrialState.FAIL, interrupted=True)
    found = standing(spec, queue.trials())
    assert (found.done, found.best, found.seconds) == (2, "20 s", 1500.0)
    # One that was continued took longer than its last part.
    queue.add(0.3, 0, 40.0, 0.5, minutes=1.0, continues=cut.number)
    found = standing(spec, queue.trials())
    assert (found.done, found.best, found.seconds) == (3, "20 s", 1500.0)
    assert shown_values(spec, [20.0, 0.5]) == "training time 20 s  mIoU 50.00 %"


def test_facts_are_columns_on_a_terminal_and_lines_in_a_pipe():
    facts = [("study", "a" * 70), ("seeds", "0, 1"), ("bad\033[2J", "postgresql://me:pw@host/db")]
    pipe, terminal = io.StringIO(), Terminal()
    print_facts(facts, pipe)
    print_facts(facts, terminal)
    assert pipe.getvalue().splitlines() == [
        f"study: {'a' * 70}",
        "seeds: 0, 1",
        "bad\\x1b[2J: postgresql://me:***@host/db",
    ]
    lines = shown(terminal.getvalue()).splitlines()
    assert lines[0].startswith("study       aaa")
    assert max(map(len, lines)) <= 80
