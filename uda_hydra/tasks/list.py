"""List: what can be chosen, and the studies and runs on this disk."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from omegaconf import DictConfig

from uda_hydra.callbacks.progress import last_position
from uda_hydra.catalogue import options
from uda_hydra.engine.lock import is_held
from uda_hydra.errors import UserError
from uda_hydra.files import read_json
from uda_hydra.inputs import shown
from uda_hydra.runs.layout import MARK, held_by
from uda_hydra.runs.results import RESULT
from uda_hydra.studies import storage
from uda_hydra.studies.display import print_facts
from uda_hydra.studies.load import load_study
from uda_hydra.studies.space import point_key

GROUPS = (
    "method",
    "dataset",
    "model",
    "augmentation",
    "sampler",
    "evaluation",
    "experiment",
    "sweep",
)
"""What users choose themselves; the options of other groups are chosen by these."""


def show_all(config: DictConfig, overrides: list[str]) -> None:
    """Print what can be chosen, then what lies below ``output``, or ``outputs``, and its state."""
    for group in GROUPS:
        print(f"\n{group}=")
        print_facts([(f"  {name}", text) for name, text in options(group).items()])
    root = Path(config.output or "outputs")
    folders = _folders(root)
    for kind, state in (("study", study_state), ("training", run_state)):
        found = folders.get(kind, [])
        heading = "studies" if kind == "study" else "runs"
        print(f"\n{heading} in {shown(root)}{'' if found else ': none'}")
        print_facts([(f"  {folder.relative_to(root)}", state(folder)) for folder in found])


def _folders(root: Path) -> dict[str, list[Path]]:
    """The folders of studies and of runs outside studies, by kind."""
    found: dict[str, list[Path]] = {}
    for mark in sorted([*root.glob(f"*/{MARK}"), *root.glob(f"*/*/{MARK}")]):
        held = held_by(mark.parent)
        if held is not None:
            found.setdefault(held.kind, []).append(mark.parent)
    return found


def study_state(folder: Path) -> str:
    """How many trials of a study are in which state."""
    if not (folder / storage.FILE).is_file():
        return "its trials are in the database of hydra.sweeper.storage"
    try:
        trials = load_study(folder).trials
    except UserError as error:
        return str(error)
    # Another trial continues one that was interrupted or has failed.
    latest = {(point_key(trial.params), trial.seed): trial.state for trial in trials}
    return ", ".join(f"{number} {state}" for state, number in Counter(latest.values()).items())


def run_state(folder: Path) -> str:
    """Whether a run is finished, and if not where it is."""
    result = read_json(folder / RESULT)
    if result is not None:
        miou = result.get("miou/last")
        return "finished" if miou is None else f"finished, mIoU {100 * miou:.2f} %"
    state = "running" if is_held(folder) else "interrupted"
    return ", ".join(filter(None, [state, last_position(folder)]))
