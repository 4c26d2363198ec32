"""Runs a study: trainings are taken from its queue until none is left, then it is reported."""

from __future__ import annotations

import gc
import math
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict
from optuna.trial import TrialState

from uda_hydra.config import quoted
from uda_hydra.engine.device import free_memory
from uda_hydra.errors import Stopped, UserError
from uda_hydra.provenance import provenance
from uda_hydra.studies import publish, storage
from uda_hydra.studies.liveness import Heartbeat
from uda_hydra.studies.load import described, load
from uda_hydra.studies.pruning import STORAGE, Pruned
from uda_hydra.studies.queue import Job, TrialQueue
from uda_hydra.studies.spec import StudySpec


def sweep(
    arguments: list[str],
    options: dict[str, Any],
    *,
    config: DictConfig,
    context: HydraContext,
    task: TaskFunction,
) -> None:
    """Run what is left of the study of ``arguments``, or with ``task=report`` only report it."""
    question = parse_study(arguments, options, config)
    if config.task == "report":
        study = load(question.folder, question.storage)
        report = publish.shown_value(study, question.tolerance)
        publish.Parent(question).attach(study)
        print(f"{report.text}\nreport: {report.page}")
        return
    question.check()
    url = storage.url_of(question.folder, question.storage)
    question.folder.mkdir(parents=True, exist_ok=True)
    os.environ[STORAGE] = url
    queue = TrialQueue(
        question.folder,
        url,
        directions=question.directions,
        design=question.design,
        sampler=question.sampler,
    )
    queue.describe(question.facts(provenance([])))
    _run(question, queue, _launcher(question, config, context, task))


def _launcher(
    question: StudySpec, config: DictConfig, context: HydraContext, task: TaskFunction
) -> Any:
    """Hydra's launcher, whose own files go to the study's folder."""
    # Each job's config is composed anew, from these overrides and its own.
    with open_dict(config):
        config.hydra.sweep.dir = str(question.folder)
        config.hydra.overrides.hydra.append(quoted(f"hydra.sweep.dir={question.folder}"))
    return Plugins.instance().instantiate_launcher(
        config=config, hydra_context=context, task_function=task
    )


def _run(question: StudySpec, queue: TrialQueue, launcher: Any) -> None:
    """Take, run and record until nothing is left; report whatever happens."""
    tracked = publish.Parent(question)
    tracked.open()
    status = "failed"
    try:
        with _terminated(), Heartbeat(queue.sign):
            _work(question, queue, launcher)
        status = "finished"
    except (Stopped, KeyboardInterrupt, SystemExit):
        status = "interrupted"
        raise
    finally:
        study = described(queue.study, question.folder)
        running = [t.number for t in study.trials if t.state == "running"]
        report = publish.shown_value(study, question.tolerance)
        print(f"{report.text}\nreport: {report.page}")
        if running:
            print(f"trials {', '.join(map(str, running))} are run by other processes")
            status = "running"
        tracked.close(status, study, report)
        gc.unfreeze()
    if notes := queue.failed():
        raise Faulty(
            f"{len(notes)} trials failed, the last for: {notes[-1]}; "
            "hydra.sweeper.retry_failed=true tries them again"
        )


class Faulty(UserError):
    """A study has trials that failed."""


def _work(question: StudySpec, queue: TrialQueue, launcher: Any) -> None:
    failures = 0
    while jobs := queue.take(question.at_once):
        lines = [question.overrides(job) for job in jobs]
        for job in jobs:
            print(f"\ntrial {job.number} of {question.folder.name}: {question.shown(job)}")
        returned: Sequence[JobReturn] = ()
        try:
            returned = launcher.launch(lines, initial_job_idx=jobs[0].number)
        finally:
            # Empty after a signal between the steps of a training.
            for job in jobs[len(returned) :]:
                queue.interrupt(job, "interrupted")
        outcomes = [_record(question, queue, *pair) for pair in zip(jobs, returned, strict=True)]
        free_memory()
        if not gc.get_freeze_count():
            # Modules and databases stay; to look through them after every trial takes a second.
            gc.freeze()
        for stopped in (outcome for outcome in outcomes if isinstance(outcome, Stopped)):
            raise stopped
        for failed in outcomes:
            failures = failures + 1 if failed else 0
        if failures >= question.most_failures:
            raise Faulty(
                f"{failures} trials failed in a row, the last for: {outcomes[-1]}; mend it and "
                "start the same command with hydra.sweeper.retry_failed=true"
            )


def _record(question: StudySpec, queue: TrialQueue, job: Job, returned: JobReturn) -> object:
    """Tell the queue how a job ended; what stopped it or made it fail, else None."""
    # The property of that name raises the error, after a line on the terminal.
    value = returned._return_value
    if returned.status == JobStatus.COMPLETED:
        values = value if isinstance(value, list | tuple) else [value]
        told = zip(question.objectives, values, strict=True)
        bad = [name for name, v in told if v is None or not math.isfinite(v)]
        if not bad:
            queue.tell(job, TrialState.COMPLETE, values, "")
            return None
        value = UserError(f"{bad[0]} of the result is no finite number")
    note = (str(value) or repr(value)).splitlines()[0]
    if isinstance(value, Pruned):
        queue.tell(job, TrialState.PRUNED, None, note)
        print(f"trial {job.number}: {note}")
        return None
    if isinstance(value, Stopped):
        queue.interrupt(job, f"interrupted: {note}")
        return value
    queue.tell(job, TrialState.FAIL, None, note)
    print(f"trial {job.number} failed: {note}", file=sys.stderr)
    folder = question.folder / job.folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "error.txt").write_text("".join(traceback.format_exception(value)))
    return note


@contextmanager
def _terminated() -> Iterator[None]:
    """SIGTERM ends the process through its ``finally`` clauses, with the shell's exit code."""

    def end(number: int, frame: FrameType | None) -> None:
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
