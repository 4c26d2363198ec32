"""What a study may take: hours of training, and room on the disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf
from optuna.trial import TrialState

from tests.studies.test_sweeper import AUX, began, study, sweep
from uda_hydra.runs.stages import Stage
from uda_hydra.studies import disk
from uda_hydra.studies import queue as queues
from uda_hydra.studies.disk import describe_space
from uda_hydra.studies.queue import hours_of


def test_no_training_begins_once_the_hours_are_used_up(opened, monkeypatch):
    clock = SimpleNamespace(now=1e9)
    monkeypatch.setattr(queues, "time", SimpleNamespace(time=lambda: clock.now))
    queue = opened("0.1,0.2,0.3", seeds=(0,))
    queue._design = replace(queue._design, max_hours=1.0)
    for hours in (0.5, 0.75):
        (job,) = queue.take(1)
        clock.now += 3600 * hours
        queue.record(job, TrialState.COMPLETE, [0.5], "")
    assert hours_of(queue.trials()) == pytest.approx(1.25)
    assert queue.take(1) == []
    assert queue.is_out_of_time()
    # A larger budget continues; a finished study has no use for it.
    queue._design = replace(queue._design, max_hours=2.0)
    while jobs := queue.take(1):
        queue.record(jobs[0], TrialState.COMPLETE, [0.5], "")
    queue._design = replace(queue._design, max_hours=1.0, total=len(queue.trials()))
    assert not queue.is_out_of_time()


def test_a_killed_training_counts_until_its_last_heartbeat(opened, monkeypatch):
    clock = SimpleNamespace(now=1e9)
    monkeypatch.setattr(queues, "time", SimpleNamespace(time=lambda: clock.now))
    queue = opened("0.1,0.2", seeds=(0,))
    (job,) = queue.take(1)
    clock.now += 1800
    queue.send_heartbeat()
    clock.now += 36000
    monkeypatch.setattr(queues.liveness, "is_alive", lambda *_: False)
    (again,) = queue.take(1)
    assert again.continues == job.number
    assert hours_of(opened("0.1,0.2", seeds=(0,)).trials()) == pytest.approx(0.5)


def test_hours_also_end_other_seeds_and_failed_trainings_that_are_tried_again(opened, monkeypatch):
    clock = SimpleNamespace(now=1e9)
    monkeypatch.setattr(queues, "time", SimpleNamespace(time=lambda: clock.now))
    queue = opened("0.1,0.001", seeds=(0,))
    for state, values in ((TrialState.COMPLETE, [0.5]), (TrialState.FAIL, None)):
        (job,) = queue.take(1)
        clock.now += 3600
        queue.record(job, state, values, "bad luck" if values is None else "")
    for more, left in (({"seeds": (1,)}, True), ({"retry": True}, True), ({}, False)):
        queue = opened("0.1,0.001", **{"seeds": (0,)} | more)
        queue._design = replace(queue._design, max_hours=1.0)
        assert queue.is_out_of_time() == left
        assert queue.take(1) == []


@pytest.mark.slow
def test_the_sweep_says_that_the_hours_are_used_up_and_continues_with_more(tmp_path):
    done = sweep(tmp_path, f"{AUX}=0.2,0.3", "hydra.sweeper.max_hours=0.000001")
    assert done.returncode == 0, done.stderr
    assert "max_hours=1e-06 are used up" in done.stdout
    assert len(began(tmp_path)) == 1
    done = sweep(tmp_path, f"{AUX}=0.2,0.3", "hydra.sweeper.max_hours=1")
    assert "used up" not in done.stdout
    assert [trial.state for trial in study(tmp_path).trials] == ["complete"] * 3


def test_the_disk_of_a_study_counts_trainings_and_their_starts(monkeypatch):
    start, adapt = plan_of("start"), plan_of("adapt")
    sizes = {"both": 10**10, "weights": 10**9}
    monkeypatch.setattr(disk, "bytes_of", lambda config, keep: sizes[keep])
    monkeypatch.setattr(disk, "kept_of", lambda stage, stages, keep: keep)
    monkeypatch.setattr(disk, "_deciding", lambda stage: [stage.name])
    monkeypatch.setattr(disk, "free_bytes", lambda folder: 50e9)
    # Two points and three seeds of 10 GB, and a start for each seed.
    plans = [[start, adapt], [start, adapt]]
    text = describe_space(plans, trainings=6, seeds=3, folder=Path("study"))
    assert "about 90 GB of checkpoints (trainer.keep=both), 50 GB free" in text
    assert "trainer.keep=weights takes 9 GB" in text
    # With start.seed all seeds share one start.
    adapt.config.start.seed = 0
    text = describe_space(plans, trainings=6, seeds=3, folder=Path("study"))
    assert "about 70 GB of checkpoints" in text
    text = describe_space([[adapt]], trainings=2, seeds=1, folder=Path("study"))
    assert text.endswith("about 20 GB of checkpoints (trainer.keep=both), 50 GB free")


def plan_of(name):
    """A stage that keeps both checkpoints."""
    values = {"trainer": {"keep": "both"}, "start": {"seed": None}, "output": name}
    return Stage(name, OmegaConf.create(values))
