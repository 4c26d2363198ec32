"""Where the result of a study goes: a report in its folder, and the parent run in MLflow."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

from omegaconf import OmegaConf

from uda_hydra.config import settings
from uda_hydra.files import printable
from uda_hydra.provenance import provenance
from uda_hydra.settings import TrackingSettings
from uda_hydra.studies import storage
from uda_hydra.studies.load import load_study
from uda_hydra.studies.records import Study
from uda_hydra.studies.report.write import StudyReport, write
from uda_hydra.studies.spec import StudySpec
from uda_hydra.tracking.backlog import send
from uda_hydra.tracking.mlflow import close_parent, open_parent
from uda_hydra.tracking.uri import hide
from uda_hydra.tracking.view import link, search, view_of

log = logging.getLogger(__name__)


def _note(question: str, name: str) -> str:
    """The description of the run: what is asked, and how the UI shows the trials side by side."""
    return (
        f"{question}\n\nThe answer: Artifacts, report/report.html. Its trials, side by side: "
        f"search `{search(name)}` in the experiment's runs, sort by the objective (by time they "
        "stay folded below this run), then the chart view or Compare."
    )


def _print_link(folder: Path) -> None:
    """Print where MLflow shows the trainings of a study, once it has the study's run."""
    if address := link(folder):
        print(f"its trainings in MLflow: {printable(address)}")


class ParentRun:
    """The run in MLflow whose children are the trials of a study; does nothing without tracking."""

    def __init__(self, spec: StudySpec) -> None:
        self._spec = spec
        self._tracking = settings(spec.config.tracking)

    def open(self) -> None:
        """Describe the run; the first trial that finds the store creates it."""
        spec, tracking = self._spec, self._tracking
        if not tracking.enabled:
            return
        about = spec.facts({})
        with storage.exclusive(spec.folder, spec.url):
            open_parent(
                tracking.uri,
                tracking.experiment,
                spec.folder.name,
                spec.folder,
                artifacts=Path(tracking.artifacts),
                config=OmegaConf.to_container(spec.config, resolve=True),
                tags=provenance([])
                | {
                    "study": spec.folder.name,
                    "method": spec.choices["method"],
                    "model": spec.choices["model"],
                    "command": about["command"],
                    "mlflow.note.content": _note(about["question"], spec.folder.name),
                    "objective": ", ".join(spec.objectives),
                }
                | {f"space {name}": value for name, value in about["space"].items()},
                views=self._views(),
            )
        # Without an answer the first trial that finds the store creates the run. The study is not
        # held meanwhile: no process may wait for a server that is asked by another.
        with suppress(ConnectionError):
            send(spec.folder, abandoned=False)
        _print_link(spec.folder)

    def _views(self) -> dict[str, str]:
        """The saved view of the trials: the objective, what is swept, and how each ended."""
        spec = self._spec
        objective, direction = next(iter(spec.objectives.items()))
        swept = [name.lstrip("+") for name in spec.design.space.written]
        groups = [name for name in swept if name in spec.choices]
        return view_of(
            spec.folder.name,
            objective,
            params=[*(name for name in swept if name not in groups), "seed"],
            tags=[*groups, "trial", "state"],
            ascending=direction == "minimize",
        )

    def close(self, status: str, study: Study, report: StudyReport) -> None:
        """Record how the study ended; status "running" while other processes continue it."""
        if not self._tracking.enabled or status == "running":
            return
        complete = [trial for trial in study.trials if trial.state == "complete"]
        metrics = {"trials": float(len(complete))}
        if report.best_mean is not None:
            metrics[f"best/{study.objectives[0]}"] = report.best_mean
        tags = {"robust range": report.robust_range}
        tags |= {f"best {name}": str(value) for name, value in report.best.items()}
        close_parent(self._spec.folder, status, metrics, tags=tags)
        _print_link(self._spec.folder)


def report_folder(
    folder: Path, url: str | None, *, tolerance: float, tracking: TrackingSettings
) -> None:
    """Write and print the report of the study in ``folder`` as it is, and upload it.

    ``url`` is ``hydra.sweeper.storage``. The sweep may be running, or have been killed.
    """
    study = load_study(folder, url)
    report = write(study, tolerance=tolerance)
    if tracking.enabled:
        hide(tracking.uri)
        busy = any(trial.state == "running" for trial in study.trials)
        try:
            send(folder, abandoned=not busy)
        except ConnectionError as error:
            log.warning("the report is not in MLflow: %s", error)
        _print_link(folder)
    print(f"{report.text}\nreport: {report.page}")
