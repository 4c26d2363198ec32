"""Runs a study: its trainings are taken from a queue until none is left, then it is reported."""

from __future__ import annotations

import gc
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, read_write
from optuna.trial import TrialState

from uda_hydra.config import settings
from uda_hydra.engine.device import free_memory
from uda_hydra.errors import Stopped, UserError, first_line
from uda_hydra.files import is_finite, mask, printable, quoted
from uda_hydra.provenance import provenance
from uda_hydra.runs.layout import mark_folder
from uda_hydra.studies import storage
from uda_hydra.studies.display import Display, print_facts, shown_values
from uda_hydra.studies.export import show_export
from uda_hydra.studies.keys import Overrides
from uda_hydra.studies.liveness import Heartbeat
from uda_hydra.studies.load import read_study
from uda_hydra.studies.outputs import ParentRun, report_folder
from uda_hydra.studies.overview import known_trials, overview, trainings
from uda_hydra.studies.plugin import StudyOptions
from uda_hydra.studies.pruning import Pruned
from uda_hydra.studies.queue import Job, TrialQueue
from uda_hydra.studies.report.write import write
from uda_hydra.studies.spec import StudySpec, parse_study
from uda_hydra.studies.trainings import check_trainings


class FailedTrials(UserError):
    """A study has trials that failed."""


@dataclass(frozen=True)
class Outcome:
    """How a trial ended."""

    state: str
    """complete, failed, pruned or interrupted."""
    note: str
    """The objectives, or why there are none."""
    stopped: Stopped | None = None
    """What asked the training, and with it the sweep, to stop."""


TAKEN_OVER = Outcome("interrupted", "another process has taken the trial over")


def sweep(
    overrides: Overrides,
    options: StudyOptions,
    *,
    config: DictConfig,
    context: HydraContext,
    task: TaskFunction,
) -> None:
    """Run what is left of the study of ``overrides``, or with ``task=report`` only report it."""
    spec = parse_study(overrides, options, config)
    if config.task == "report":
        report_folder(
            spec.folder,
            options.storage,
            tolerance=options.robust_within,
            tracking=settings(spec.config.tracking),
        )
        return
    if config.task == "export_study":
        show_export(spec.folder, options.storage)
        return
    spec.check()
    plans = check_trainings(spec)
    if options.dry_run:
        trials = known_trials(spec)
        print_facts(overview(spec, plans, trials))
        print()
        print_facts(trainings(spec, trials))
        print("\nEverything was checked; nothing is trained with hydra.sweeper.dry_run=true.")
        return
    launcher = _launcher(spec, config, context, task)
    with storage.exclusive(spec.folder, spec.url):
        mark_folder(spec.folder, "study")
    queue = TrialQueue(
        spec.folder,
        spec.url,
        directions=[*spec.objectives.values()],
        design=spec.design,
        sampler=spec.sampler,
    )
    with storage.readable(spec.url, storage.UNUSABLE):
        queue.describe(spec.facts(provenance([])))
        study = read_study(queue.study, spec.folder)
        print_facts(overview(spec, plans, study.trials))
        _run_and_report(spec, queue, launcher)


def _launcher(
    spec: StudySpec, config: DictConfig, context: HydraContext, task: TaskFunction
) -> Any:
    """Hydra's launcher, whose own files go to the study's folder."""
    # The config of each job is composed from these overrides and its own.
    with read_write(config.hydra):
        config.hydra.sweep.dir = str(spec.folder)
        config.hydra.overrides.hydra.append(quoted(f"hydra.sweep.dir={spec.folder}"))
    return Plugins.instance().instantiate_launcher(
        config=config, hydra_context=context, task_function=task
    )


def _run_and_report(spec: StudySpec, queue: TrialQueue, launcher: Any) -> None:
    """Run trials until none is left; write the report whatever happens."""
    parent = ParentRun(spec)
    parent.open()
    status = "failed"
    try:
        display = Display(spec, queue.trials)
        with _exiting_on_signals(), Heartbeat(queue.send_heartbeat), display.live():
            _run_all(spec, queue, launcher, display)
        status = "interrupted" if queue.is_out_of_time() else "finished"
    except (Stopped, KeyboardInterrupt, SystemExit):
        status = "interrupted"
        raise
    finally:
        study = read_study(queue.study, spec.folder)
        report = write(study, tolerance=spec.options.robust_within)
        print(f"{report.text}\nreport: {report.page}")
        if running := [trial.number for trial in study.trials if trial.state == "running"]:
            print(f"trials {', '.join(map(str, running))} are running in other processes")
            status = "running"
        if queue.is_out_of_time():
            print(
                f"hydra.sweeper.max_hours={spec.options.max_hours:g} are used up: no more training "
                "begins; the same command with a larger value continues the study"
            )
        parent.close(status, study, report)
        gc.unfreeze()
    if notes := queue.failed():
        raise FailedTrials(
            f"{len(notes)} trials failed, the last with: {notes[-1]}; "
            "hydra.sweeper.retry_failed=true tries them again"
        )


def _run_all(spec: StudySpec, queue: TrialQueue, launcher: Any, display: Display) -> None:
    """Run trials until none is left, one asks to stop, or too many fail in a row."""
    failures = 0
    while outcomes := run_trials(spec, queue, launcher, display):
        free_memory()
        if not gc.get_freeze_count():
            # Modules and databases stay; the collector takes a second to look through them.
            gc.freeze()
        for outcome in outcomes:
            if outcome.stopped:
                raise outcome.stopped
            failures = failures + 1 if outcome.state == "failed" else 0
        if failures >= spec.options.max_failures_in_a_row:
            raise FailedTrials(
                f"{failures} trials failed in a row, the last with: {outcomes[-1].note}; fix "
                "the cause and start the same command with hydra.sweeper.retry_failed=true"
            )


def run_trials(
    spec: StudySpec, queue: TrialQueue, launcher: Any, display: Display
) -> list[Outcome]:
    """Ask for the next trials, launch them, record how they ended; none when none is left."""
    jobs = queue.take(spec.options.n_jobs)
    if not jobs:
        return []
    display.begin(jobs)
    returned: Sequence[JobReturn] = ()
    try:
        lines = [spec.overrides(job, place) for place, job in enumerate(jobs)]
        returned = launcher.launch(lines, initial_job_idx=jobs[0].number)
    finally:
        # A signal between the steps of a training leaves jobs without a result.
        for job in jobs[len(returned) :]:
            queue.interrupt(job, "interrupted")
    outcomes = []
    for job, result in zip(jobs, returned, strict=True):
        outcome = _record(spec, queue, job, result)
        display.end(job, outcome.state, outcome.note)
        outcomes.append(outcome)
    return outcomes


def _record(spec: StudySpec, queue: TrialQueue, job: Job, returned: JobReturn) -> Outcome:
    """Store in the queue how a trial ended, unless another process has taken it over."""
    # The property ``return_value`` would raise the error, after printing a line.
    value = returned._return_value
    if returned.status == JobStatus.COMPLETED:
        values = value if isinstance(value, list | tuple) else [value]
        named = zip(spec.objectives, values, strict=True)
        missing = [name for name, v in named if not is_finite(v)]
        if not missing:
            ours = queue.record(job, TrialState.COMPLETE, values, "")
            return Outcome("complete", shown_values(spec, values)) if ours else TAKEN_OVER
        value = UserError(f"{missing[0]} of the result is not a finite number")
    note = mask(printable(first_line(value)))
    pruned = isinstance(value, Pruned)
    if isinstance(value, Stopped) and not pruned:
        queue.interrupt(job, f"interrupted: {note}")
        return Outcome("interrupted", note, stopped=value)
    if not queue.record(job, TrialState.PRUNED if pruned else TrialState.FAIL, None, note):
        return TAKEN_OVER
    if pruned:
        return Outcome("pruned", note)
    folder = spec.folder / job.folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "error.txt").write_text(mask("".join(traceback.format_exception(value))))
    return Outcome("failed", note)


@contextmanager
def _exiting_on_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the process through its ``finally`` clauses, as a shell counts it."""

    def end(number: int, frame: FrameType | None) -> None:
        print("stopped; the same command resumes from the last checkpoint", file=sys.stderr)
        sys.exit(128 + number)

    # nohup has SIGHUP ignored, and means it.
    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
