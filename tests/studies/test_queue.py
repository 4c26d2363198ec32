"""Who does which training: nothing twice, nothing lost, whoever dies."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import subprocess
import sys
import threading
import time

import numpy as np
import optuna
import psutil
import pytest
from hydra.core.utils import JobReturn, JobStatus
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState, create_trial
from sqlalchemy.exc import OperationalError

from tests.label_spaces import space
from tests.studies.test_spec import spec_of
from uda_hydra.engine.events import Evaluation, Run
from uda_hydra.engine.scores import Scores
from uda_hydra.errors import UserError, first_line
from uda_hydra.studies import liveness
from uda_hydra.studies.load import load_study, read_study
from uda_hydra.studies.pruning import Pruned, Pruning
from uda_hydra.studies.storage import url_of
from uda_hydra.studies.sweeper import TAKEN_OVER, Outcome, _record
from uda_hydra.tasks.list import study_state

ADV = "loss.lambda_adv"
PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
ERRORS = [
    OperationalError("UPDATE trials", {}, sqlite3.OperationalError("database is locked")),
    StorageInternalError("no commit"),
    OSError(),
]
WHO = "from uda_hydra.studies import liveness; print(liveness.identify_process(), flush=True)"


def evaluate(folder, job, step, right):
    """What the pruner has in its lowest rung after an evaluation of a job, mIoU ``right`` / 20."""
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1)
    pruning = Pruning(folder.name, job.number, url=url_of(folder, None), pruner=pruner)
    pruning.on_start(Run("caco on streets", folder, 99, 0, {}))
    scores = Scores(np.array([[right, 10 - right], [0, 0]]), space("road", "bus"))
    pruning.on_evaluate(Evaluation(step, scores, 0.5, ()))
    attrs = [trial.system_attrs for trial in pruning._trial.study.get_trials()]
    return [own["completed_rung_0"] for own in attrs if "completed_rung_0" in own]


def drain(queue, value=lambda job: job.point[ADV]):
    """Do all that is left; the trainings in the order in which they were taken."""
    done = []
    while jobs := queue.take(1):
        done += jobs
        queue.record(jobs[0], TrialState.COMPLETE, [value(jobs[0])], "")
    return done


def pairs(jobs):
    return [(job.point[ADV], job.seed) for job in jobs]


def test_a_grid_is_done_once_the_reference_first_then_seed_by_seed(opened):
    jobs = drain(opened())
    values = (0.1, 0.2, 0.3)
    assert pairs(jobs) == [(0.001, 0), (0.001, 1), *((v, s) for s in (0, 1) for v in values)]
    assert [job.folder for job in jobs] == [f"trials/{n:04}" for n in range(8)]
    assert drain(opened()) == []


def test_two_processes_share_the_work_and_more_seeds_go_on_with_the_same_study(opened):
    one, two = opened(), opened()
    first, second = one.take(3), two.take(3)
    assert len({*pairs(first), *pairs(second)}) == 6
    for queue, jobs in ((one, first), (two, second)):
        for job in jobs:
            queue.record(job, TrialState.COMPLETE, [0.5], "")
    assert len(drain(two)) == 2
    assert {seed for _, seed in pairs(drain(opened(seeds=(0, 1, 2))))} == {2}


def test_the_total_counts_over_all_calls(opened):
    assert len(drain(opened(total=3))) == 3
    assert len(drain(opened(total=3))) == 0
    assert len(drain(opened(total=5))) == 2


def test_what_is_interrupted_is_continued_first_in_its_own_folder(opened, tmp_path):
    queue = opened()
    kept, lost = queue.take(2)
    queue.record(kept, TrialState.COMPLETE, [0.5], "")
    queue.interrupt(lost, "interrupted: SIGTERM after step 3")
    (again,) = opened().take(1)
    assert (again.point, again.seed, again.folder) == (lost.point, lost.seed, lost.folder)
    assert (again.number, again.continues) == (2, lost.number)
    trials = read_study(queue.study, tmp_path).trials
    assert trials[1].note == "interrupted: SIGTERM after step 3, continued as trial 2"
    assert [t.state for t in trials[:3]] == ["complete", "interrupted", "running"]
    # 8 in all, of which 6 have not begun.
    assert [t.state for t in trials[3:]] == ["waiting"] * 6


def test_a_killed_process_is_noticed_and_a_living_one_left_alone(opened, monkeypatch):
    dead = subprocess.run(
        [
            sys.executable,
            "-c",
            "from uda_hydra.studies.liveness import *; print(identify_process())",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    queue = opened()
    me = liveness.identify_process()
    (mine,) = queue.take(1)
    monkeypatch.setattr(liveness, "identify_process", lambda: eval(dead.stdout))
    (lost,) = opened().take(1)
    monkeypatch.setattr(liveness, "identify_process", lambda: me)
    (again,) = opened().take(1)
    assert (again.point, again.seed, again.continues) == (lost.point, lost.seed, lost.number)
    assert queue.trials()[mine.number].state == TrialState.RUNNING


def test_another_machine_is_dead_when_it_was_silent_for_two_minutes(monkeypatch):
    elsewhere = liveness.identify_process() | {"place": "elsewhere"}
    assert liveness.is_alive(elsewhere, time.time() - 100)
    assert not liveness.is_alive(elsewhere, time.time() - 130)
    assert liveness.is_alive(liveness.identify_process(), 0.0)
    assert not liveness.is_alive(liveness.identify_process() | {"started": 1.0}, time.time())
    assert not liveness.is_alive(None, time.time())


def test_a_sign_of_life_reaches_the_others_and_a_trial_taken_over_is_lost(
    opened, tmp_path, monkeypatch
):
    queue = opened()
    (job,) = queue.take(1)
    before = queue.trials()[0].user_attrs["heartbeat"]
    queue.send_heartbeat()
    assert opened().trials()[0].user_attrs["heartbeat"] > before
    monkeypatch.setattr(liveness, "is_alive", lambda *_: False)
    (again,) = opened().take(1)
    assert again.continues == job.number
    assert not queue.record(job, TrialState.COMPLETE, [0.5], "")
    queue.send_heartbeat()
    spec = spec_of(f"{ADV}=0.1,0.2", "method=advent", f"output='{tmp_path}'")
    for status, value in ((JobStatus.COMPLETED, 0.5), (JobStatus.FAILED, UserError("bad luck"))):
        returned = JobReturn(status=status, _return_value=value)
        assert _record(spec, queue, job, returned) == TAKEN_OVER
    assert not [*tmp_path.rglob("error.txt")]


def test_a_silent_machine_may_record_its_trial_before_it_is_taken_for_dead(opened, monkeypatch):
    silent, other = opened(), opened()
    (job,) = silent.take(1)

    def late(*_):
        silent.record(job, TrialState.COMPLETE, [0.5], "")
        return False

    monkeypatch.setattr(liveness, "is_alive", late)
    (following,) = other.take(1)
    assert (following.continues, following.seed) == (None, 1)
    assert other.trials()[job.number].state == TrialState.COMPLETE


def test_a_pruned_trial_is_no_interruption_and_does_not_stop_the_sweep(opened, tmp_path):
    queue = opened()
    (job,) = queue.take(1)
    spec = spec_of(f"{ADV}=0.1,0.2", "method=advent", f"output='{tmp_path}'")
    returned = JobReturn(status=JobStatus.FAILED, _return_value=Pruned("pruned after step 4"))
    assert _record(spec, queue, job, returned) == Outcome("pruned", "pruned after step 4")
    assert queue.trials()[job.number].state == TrialState.PRUNED


def test_a_failure_is_final_unless_it_is_to_be_tried_again_and_then_once(opened):
    queue = opened("0.1,0.001", seeds=(0,))
    drain_with_failure(queue)
    assert queue.failed() == ["bad luck"]
    assert opened("0.1,0.001", seeds=(0,)).take(1) == []
    again = opened("0.1,0.001", seeds=(0,), retry=True)
    (job,) = drain_with_failure(again)
    assert (job.point[ADV], job.continues, job.folder) == (0.1, 1, "trials/0001")
    assert again.failed() == ["bad luck"]


def test_what_two_processes_try_again_is_tried_once(opened):
    drain_with_failure(opened("0.1,0.001", seeds=(0,)))
    one = opened("0.1,0.001", seeds=(0,), retry=True)
    (job,) = one.take(1)
    two = opened("0.1,0.001", seeds=(0,), retry=True)
    one.record(job, TrialState.FAIL, None, "bad luck")
    assert one.take(1) == two.take(1) == []
    # A command that begins after that has a new cause to try.
    (again,) = opened("0.1,0.001", seeds=(0,), retry=True).take(1)
    assert again.continues == job.number


def test_a_trial_that_another_program_failed_has_no_reason(opened):
    queue = opened()
    (job,) = queue.take(1)
    queue.study.tell(job.number, state=TrialState.FAIL)
    assert queue.failed() == ["no reason is known"]


def test_a_failure_that_was_tried_again_is_none(opened, tmp_path):
    drain_with_failure(opened("0.1,0.001", seeds=(0,)), "not continued")
    assert study_state(tmp_path) == "1 complete, 1 failed"
    drain(opened("0.1,0.001", seeds=(0,), retry=True))
    trials = load_study(tmp_path).trials
    assert [trial.state for trial in trials] == ["complete", "retried", "complete"]
    assert trials[1].note == "not continued, continued as trial 2"
    assert study_state(tmp_path) == "2 complete"


def drain_with_failure(queue, why="bad luck"):
    done = []
    while jobs := queue.take(1):
        done += jobs
        if jobs[0].point[ADV] == 0.1:
            queue.record(jobs[0], TrialState.FAIL, None, why)
        else:
            queue.record(jobs[0], TrialState.COMPLETE, [0.5], "")
    return done


def test_drawn_points_get_every_seed_and_depend_on_the_trials_before_alone(opened, tmp_path):
    written = "tag(log, interval(1e-4, 1e-1))"
    jobs = drain(opened(written, total=8))
    found = pairs(jobs)
    assert found[:2] == [(0.001, 0), (0.001, 1)]
    assert [seed for _, seed in found] == [0, 1] * 4
    assert len({value for value, _ in found}) == 4
    (tmp_path / "study.db").unlink()
    half = pairs(drain(opened(written, total=5)))
    assert half + pairs(drain(opened(written, total=8))) == found


def test_a_continued_trial_takes_its_place_at_the_pruner_along(opened, tmp_path):
    queue = opened(seeds=(0,))
    (job,) = queue.take(1)
    assert evaluate(tmp_path, job, 1, 8) == [0.4]
    queue.interrupt(job, "interrupted")
    (again,) = opened(seeds=(0,)).take(1)
    assert again.continues == job.number
    assert evaluate(tmp_path, again, 2, 9) == [0.4]


def test_quotes_of_the_command_line_are_no_part_of_a_value(opened, tmp_path):
    queue = opened(seeds=(0,))
    queue.study.set_user_attr("reference", {"x": "'a b'"})
    queue.study.set_user_attr("planned", [[{"x": "'a b'"}, 0]])
    found = read_study(queue.study, tmp_path)
    assert found.reference == found.trials[0].params == {"x": "a b"}


def test_the_folder_of_another_study_is_refused(opened):
    opened("0.1,0.2")
    with pytest.raises(UserError, match="another folder with output"):
        opened("0.1,0.3")


def test_no_listed_point_is_drawn_twice(opened):
    jobs = drain(opened("0.1,0.2", seeds=(0,), grid=False))
    assert sorted(pairs(jobs)) == [(0.001, 0), (0.1, 0), (0.2, 0)]


@pytest.mark.parametrize(("written", "points"), [("0.1,0.2,0.3", 4), ("int(interval(1,5))", 5)])
def test_a_sampler_that_draws_what_it_knows_ends_no_study(opened, caplog, written, points):
    queue = opened(written, seeds=(0,), grid=False)
    queue._sampler = lambda number: optuna.samplers.RandomSampler(seed=0)
    assert len({*pairs(drain(queue, lambda job: 0.5))}) == points
    assert f"no new point is left after {points} trainings" in caplog.text


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("content", [b"\xff", b"\0", b"{"])
def test_a_damaged_database_is_one_line(opened, tmp_path, share, content):
    drain(opened(seeds=(0,)))
    path = tmp_path / "study.db"
    whole = path.read_bytes()
    start = int(share * len(whole))
    path.write_bytes(whole[:start] + content * 9000 + whole[start + 9000 :])
    for use in (lambda: load_study(tmp_path), lambda: opened(seeds=(0,))):
        # What was hit may also be a page that nothing reads.
        with contextlib.suppress(UserError):
            use()
    path.write_bytes(whole[:100] + content * 9000)
    with pytest.raises(UserError, match=r"study\.db cannot be used .*move it away") as refused:
        opened(seeds=(0,))
    assert "\n" not in str(refused.value)


def test_a_study_without_its_database_begins_again(opened, tmp_path):
    first = drain(opened(seeds=(0,)))
    (tmp_path / "study.db").unlink()
    # In the same folders, whose trainings are finished.
    assert [job.folder for job in drain(opened(seeds=(0,)))] == [job.folder for job in first]


def test_trials_of_other_programs_are_left_alone(opened, tmp_path):
    queue = opened(seeds=(0,))
    (first,) = queue.take(1)
    queue.study.add_trial(create_trial(state=TrialState.COMPLETE, value=1.0))
    folders = [first.folder, *(job.folder for job in drain(queue))]
    assert len({*folders}) == len(folders) == 4
    assert len(read_study(queue.study, tmp_path).trials) == len(queue.trials())


@pytest.mark.parametrize(("text", "line"), [("\nbad\nluck", "bad"), ("", "OSError")])
def test_every_error_has_a_first_line(text, line):
    assert first_line(OSError(text)) == line


def test_a_heartbeat_survives_errors_of_the_database(monkeypatch, caplog):
    monkeypatch.setattr(liveness, "PERIOD", 0.01)
    beats = threading.Semaphore(0)
    errors = itertools.cycle(ERRORS)

    def beat():
        beats.release()
        raise next(errors)

    with liveness.Heartbeat(beat):
        assert all(beats.acquire(timeout=10) for _ in range(5))
    assert caplog.text.count("heartbeat failed and will retry") == 1
    assert "database is locked" in caplog.text and "UPDATE trials" not in caplog.text


def test_a_living_process_of_this_machine_is_never_taken_for_dead(monkeypatch):
    me = liveness.identify_process()
    booted = liveness.psutil.boot_time()
    for module in (liveness.psutil, liveness.psutil._psplatform):
        # The clock was set by an hour, which moves what the system reports as its start.
        monkeypatch.setattr(module, "boot_time", lambda: booted + 3600)
    assert liveness.is_alive(me, 0.0)


def test_a_killed_process_that_its_parent_has_not_noticed_is_dead():
    with subprocess.Popen([sys.executable, "-c", f"{WHO}; input()"], **PIPES) as process:
        owner = eval(process.stdout.readline())
        assert liveness.is_alive(owner, 0.0)
        process.kill()
        # Its entry stays in the table of processes until it is waited for.
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        assert not liveness.is_alive(owner, time.time())


def test_a_record_survives_a_database_that_fails_for_a_while(opened, monkeypatch, caplog):
    queue = opened()
    (job,) = queue.take(1)
    real, failures = queue.study.tell, [*ERRORS]

    def tell(*arguments, **options):
        if failures:
            raise failures.pop()
        return real(*arguments, **options)

    monkeypatch.setattr(queue.study, "tell", tell)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    assert queue.record(job, TrialState.COMPLETE, [0.5], "")
    assert queue.trials()[job.number].value == 0.5
    # Again, as after a write whose answer was lost: nobody else has the trial.
    assert queue.record(job, TrialState.COMPLETE, [0.5], "")
    assert caplog.text.count("will be tried again") == len(ERRORS)
    failures[:] = 9 * ERRORS
    (job,) = queue.take(1)
    with pytest.raises(UserError, match="does not answer"):
        queue.record(job, TrialState.COMPLETE, [0.5], "")
