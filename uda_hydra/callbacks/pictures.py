"""Pictures of every evaluation: validation images, and which classes are mistaken for which."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

from uda_hydra.callbacks.confusion import draw_confusion
from uda_hydra.callbacks.panels import draw_panels
from uda_hydra.engine.events import Callback, Evaluation, Run
from uda_hydra.errors import first_line
from uda_hydra.files import write_atomically

log = logging.getLogger(__name__)

FOLDER = "pictures"
PANEL = re.compile(r"panel_(\d+)\.png")
KEPT = 12
"""Number of panels kept of a run, the latest ones."""


class Pictures(Callback):
    """Writes ``pictures/panel_<step>.png`` and ``pictures/confusion.png`` at every evaluation.

    Must come before Tracking in the list of callbacks, which uploads the folder.
    """

    def on_start(self, run: Run) -> None:
        """Delete pictures of steps that will be trained again."""
        self._folder = run.folder / FOLDER
        for path in self._panels():
            if _step(path) > run.start:
                path.unlink()

    def on_evaluate(self, evaluation: Evaluation) -> None:
        """Draw; what keeps a picture from being drawn or written costs a warning."""
        scores = evaluation.scores
        title = f"step {evaluation.step}, mIoU {100 * scores.miou:.1f} %"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if evaluation.panels:
                picture = draw_panels(
                    evaluation.panels, label_space=scores.label_space, title=title
                )
                self._write(f"panel_{evaluation.step:07d}.png", picture.save)
            figure = draw_confusion(scores.confusion, scores.label_space.names, title=title)
            self._write("confusion.png", figure.savefig)
            for path in self._panels()[:-KEPT]:
                path.unlink()
        except Exception as error:  # no picture is worth a training
            reason = first_line(error)
            log.warning("pictures of step %d are missing: %s", evaluation.step, reason)

    def _panels(self) -> list[Path]:
        """Those of ours, in order; a person may keep others beside them."""
        found = self._folder.glob("panel_*.png")
        return sorted((path for path in found if PANEL.fullmatch(path.name)), key=_step)

    def _write(self, name: str, save: Callable[..., object]) -> None:
        write_atomically(self._folder / name, lambda path: save(path, format="png"))


def _step(path: Path) -> int:
    return int(PANEL.fullmatch(path.name)[1])
