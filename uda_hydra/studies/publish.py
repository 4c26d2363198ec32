"""Where a study shows its answer: a report in its folder, and the parent run in MLflow."""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import OmegaConf

from uda_hydra.config import settings
from uda_hydra.files import is_number
from uda_hydra.provenance import provenance
from uda_hydra.studies import report, storage
from uda_hydra.studies.question import Question
from uda_hydra.studies.records import Study
from uda_hydra.tracking.mlflow import close_parent, open_parent, send

log = logging.getLogger(__name__)


def written(study: Study, tolerance: float) -> report.Report:
    """The report of the study as it is, in its folder."""
    return report.write(study, tolerance=tolerance)


def _note(question: str, name: str) -> str:
    """The description of the run: what is asked, and how the UI shows the trials side by side."""
    return (
        f"{question}\n\nThe answer: Artifacts, report/report.html. Its trials, side by side: "
        f"search `tags.study = '{name}' and tags.trial != ''` in the experiment's runs, sort by "
        "the objective (by time they stay folded below this run), then the chart view or Compare."
    )


class Parent:
    """The run in MLflow that the trials of a study are children of; nothing without tracking."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._tracking = settings(question.config.tracking)

    def open(self) -> None:
        """Describe the run; the first trial that finds the store creates it."""
        asked, tracking = self._question, self._tracking
        if not tracking.enabled:
            return
        told = asked.facts({})
        url = storage.url_of(asked.folder, asked.storage)
        with storage.exclusive(asked.folder, url):
            open_parent(
                tracking.uri,
                tracking.experiment,
                asked.folder.name,
                asked.folder,
                artifacts=Path(tracking.artifacts),
                config=OmegaConf.to_container(asked.config, resolve=True),
                tags=provenance([])
                | {
                    "study": asked.folder.name,
                    "command": told["command"],
                    "mlflow.note.content": _note(told["question"], asked.folder.name),
                    "objective": ", ".join(asked.objectives),
                }
                | {f"space {name}": value for name, value in told["space"].items()},
            )

    def attach(self, study: Study) -> None:
        """Send a report that was made beside the sweep, or after it was killed."""
        folder = self._question.folder
        if self._tracking.enabled:
            busy = any(trial.state == "running" for trial in study.trials)
            try:
                send(folder, abandoned=not busy)
            except ConnectionError as error:
                log.warning("the report is not in MLflow: %s", error)

    def close(self, status: str, study: Study, answer: report.Report) -> None:
        """Say how the study stands; status "running" while other processes go on with it."""
        if not self._tracking.enabled or status == "running":
            return
        metrics = {"trials": float(len(study.trials))}
        if answer.best_mean is not None:
            metrics[f"best/{study.objectives[0]}"] = answer.best_mean
        for name, value in answer.best.items():
            if is_number(value):
                metrics[f"best/{name}"] = float(value)
        tags = {"robust range": answer.robust_range}
        tags |= {f"best {name}": str(value) for name, value in answer.best.items()}
        close_parent(self._question.folder, status, metrics, tags=tags)
